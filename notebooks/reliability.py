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
# # How far can these scores be trusted?
#
# Train the encoders again with other seeds, draw other views, and every score comes out a little different. The
# **reliability** says how much of the differences between samples would stay: 1, the same order again; 0, none of it.
# It equals the correlation of the scores of two such studies.

# %%
from IPython.display import display

from sslmem_kit import check_parameters, open_study
from sslmem_kit.figures import error_parts, interactive_figures, planning_curve, save_figure, show, warn
from sslmem_kit.scores import usable_protocols
from sslmem_kit.statistics import CrossedScores, assess, curve_of_study, variance_shares

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances
target = 0.8  # reliability that is wanted
most_seeds = 40  # the planning curve ends at so many pairs of encoders

# %%
check_parameters(protocol=protocol, target=target, most_seeds=most_seeds)
opened = open_study(study)
display(warn(opened))
results = opened.results
found = assess(results, protocol=protocol, target=target)
interactive_figures()

# %% [markdown]
# ## This study
# *By the parts of the error* compares what samples have of their own with what seeds and views add. *Split-half* needs
# no model: the scores from one half of the seeds against those from the other, stepped up to all of them by the
# Spearman-Brown formula. Both halves are scored with the same views, *given* which it holds: where views matter it is above the
# reliability, which counts other views too. Over views the encoders stay the same, so that this one only says whether more views
# would help. Intervals are of 95 %, by a bootstrap over samples.

# %%
halves = found.sel(statistic="spearman")
table = (
    halves["full_correlation_interval"]
    .to_pandas()
    .rename(index={over: f"split-half over {over}, given {given}" for over, given in halves["given"].to_series().items()})
)
table.insert(0, "reliability", halves["full_correlation"].values)
table.loc["by the parts of the error"] = [found["reliability"].item(), *found["reliability_interval"].values]
table.rename_axis(index=None, columns=None).round(2)

# %%
unknown = "; ".join(found.attrs["unknown"])
unknown or "{n} candidates, {seeds} seeds, {views} views".format(**found.attrs)

# %% [markdown]
# ## What the spread of scores is made of
# Only the lowest part is memorization. *Seeds* is the chance of training, which only further pairs of encoders take
# away; *views* and *views under one seed* shrink with the number of views, the latter with seeds too.

# %%
tables = {name: CrossedScores.of(results, name) for name in usable_protocols(results)}
parts = {name: table.parts() for name, table in tables.items()}
known = found.sizes["views"] > 0
if known:
    made_up = error_parts.plot(variance_shares(parts, seeds=found.attrs["seeds"], views=found.attrs["views"]))
    save_figure(made_up, out or opened.figures, "error_parts")
show(made_up) if known else f"Nothing to draw: {unknown}"

# %% [markdown]
# ## How many seeds and views would suffice
# Where a line stays below the target, no number of seeds makes up for too few views.

# %%
if known:
    curve = planning_curve.plot(curve_of_study(parts[protocol], found, most_seeds=most_seeds))
    save_figure(curve, out or opened.figures, "planning_curve")
show(curve) if known else f"Nothing to draw: {unknown}"

# %%
required = found[["required_seeds", "encoders", "forward_passes"]].to_dataframe()
ends = found["required_seeds_interval"].to_pandas().rename(columns="seeds, {} end of 95 %".format)
required = required.rename(columns={"required_seeds": "seeds"}).join(ends).reset_index()
required.style.hide(axis="index").format(lambda value: f"{value:.0f}" if value < float("inf") else "-")

# %% [markdown]
# Intervals are over samples; `-` stands for no number. Where the score's own part may be zero no number of seeds can be told, and
# the column is empty: only the lower ends say something. The numbers hold for this method, these data and this length of training.
