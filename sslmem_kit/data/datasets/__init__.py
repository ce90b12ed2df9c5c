"""Readers of data sets: built in, by torchvision, in a folder or in an npz file."""
