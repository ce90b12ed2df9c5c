# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Watch a running study, and pick samples out of a finished one
#
# Training takes minutes to days. The monitor below shows how far each encoder is while you go on working in this
# notebook. Start a study in a terminal, for instance `sslmem run digits --out papermill_runs/digits`, before or after you
# run the next cells.

# %%
from IPython.display import display

from sslmem_kit import check_parameters, monitor, open_study, pick_class, pick_threshold

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances

# %% [markdown]
# ## The monitor
# One row an encoder: **waiting**, **training**, **scoring** (the alignment of all samples is measured) or **done**. The
# curves are the loss of each epoch, family f and family g in their colours; point at one for the encoder's name.
#
# The monitor reads files and nothing else, so it can neither disturb nor stop a run, and it works on a study that another
# machine writes into a shared folder. It waits for a study that does not exist yet, and ends when the study is complete.
# *Stop watching* ends the display, not the study. When nothing has changed for a while it says so, and what to do if the
# run was interrupted.

# %%
check_parameters(protocol=protocol)
monitor(study)

# %% [markdown]
# Cells run while the monitor goes on: try one here. Those below need the results, so wait for the end.
#
# ## Pick a class
# Empty the field to see all classes, or type the beginning of a name and choose. `picked_class.value` is the class's
# name, `picked_class.selected` the scores of its samples.

# %%
scores = open_study(study).scores(protocol)
picked_class = pick_class(scores)
display(picked_class)

# %% [markdown]
# ## Pick by score
# The slider stands at the highest tenth; the left and right arrow keys move it. The table says how many of each partition
# lie above it: where memorization shows, a larger share of the candidates than of the others. With *by quantile* the
# slider goes by rank in place of score.
#
# The picker takes all scores or a part of them. To look into the class that you picked above, run
# `pick_threshold(picked_class.selected)`.

# %%
picked = pick_threshold(scores)
display(picked)

# %% [markdown]
# After moving the slider, run the next cell again: it lists what lies above, highest score first.

# %%
picked.table.head(10)

# %% [markdown]
# `picked.value` is the threshold, `picked.selected` an xarray dataset with all columns of the scores. Where to go next:
# `00_quickstart` shows the scores of all partitions, with images.
