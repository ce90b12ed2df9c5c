from .access import Guard
from .app import user_name
from .credentials import add_user, read_users, remove_user
from .server import Server, serve

__all__ = [
    "Guard",
    "Server",
    "add_user",
    "read_users",
    "remove_user",
    "serve",
    "user_name",
]
