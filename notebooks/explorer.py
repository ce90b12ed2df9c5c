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
# # Explore a study: see points, click them, take samples along
#
# The explorer below works in JupyterLab, with a kernel. On a page that was made of this notebook stands a picture in its
# place. `sslmem app STUDY` serves the same explorer to colleagues who install nothing.

# %%
import numpy as np
from IPython.display import display

from sslmem_kit import PARTITION_CODE, check_parameters, explore

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances
count = 16  # samples that are chosen below as long as nothing is selected above
split = ""  # npz file that the ids of these samples are written to; empty: none is written

# %% [markdown]
# Each point is a sample; those high above the dashed line are memorized: the encoders that saw them (f) align their views
# better than those that did not (g). Draw a box or a lasso, or click a point. The threshold, the gallery and the filters
# follow. Give `explore` several studies, or several paths, to compare them; `dark=True` suits a dark theme.

# %%
check_parameters(protocol=protocol, count=count)
explorer = explore(study, link=f"protocol={protocol}")
display(explorer)

# %% [markdown]
# ## The selection in Python
# `explorer.session.selected` holds the places of the selected samples on the axis `sample` of the scores, and
# `explorer.session.scores` the scores as they are shown. Run the next cells again after selecting; without a selection
# they take the most memorized candidates.

# %%
session = explorer.session
chosen = session.selected
if not len(chosen):
    candidates = np.flatnonzero(session.scores["partition"].values == PARTITION_CODE["candidate"])
    chosen = candidates[np.argsort(-session.scores["sslmem"].values[candidates])[:count]]
picked = session.scores.isel(sample=np.sort(chosen))
columns = ["label", "sslmem", "alignment_f", "alignment_g"]
picked[columns].to_dataframe()[columns].sort_values("sslmem", ascending=False).head(10)

# %% [markdown]
# It goes the other way too: `session.select(places)` selects in the explorer, and every choice can be set, as in
# `session.classes = ["3", "5"]`.
#
# ## Train without these samples
# A split file with the ids is all that `sslmem run SPEC --remove FILE` needs to train the same study without them. The tab
# *Take away* of the explorer saves one, and tables and figures besides; so does the next cell where the parameter `split`
# names a file.

# %%
if split:
    np.savez(split, sample=picked["sample"].values)
f"{split or 'split names no file, nothing is written'}: {picked.sizes['sample']} samples"

# %% [markdown]
# To show a colleague what you see, copy the link in *Take away*: its part after the `?` also goes into
# `explore(study, link="...")`.
