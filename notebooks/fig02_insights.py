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
# # Figure 2: insights into memorization
#
# Three views of one study: where the memorized samples lie (2a), when memorization happens (2b), and how the four
# partitions differ (2c). Each figure is also written to the study's `figures` folder, as an interactive page and as a
# picture.

# %%
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_study, statistics
from sslmem_kit.figures import fig02a, fig02b, fig02c, interactive_figures, save_figure, show, warn
from sslmem_kit.statistics import memorization_over_training

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances
bins = 60  # bins of the histograms in 2c

# %%
check_parameters(protocol=protocol, bins=bins)
opened = open_study(study)
scores = opened.scores(protocol)
display(warn(opened))
interactive_figures()

# %% [markdown]
# ## 2a: alignment on f against alignment on g
# One point a candidate. Encoders of f were trained on it, those of g were not; its height above the dashed line is its
# raw score. Look for two things that the paper reports: high scores occur at a wide range of f's alignment, and the
# lowest alignment on f is not the highest score. So a low training loss does not by itself mean memorization. Hover
# over a point for its id, class and score.

# %%
scatter = fig02a.plot(scores)
save_figure(scatter, out or opened.figures, "fig02a")
show(scatter)

# %% [markdown]
# ## 2b: memorization over training
# The paper reports that loss and probe accuracy reach a plateau while memorization keeps rising. Loss is recorded at
# every epoch, the others at some. Memorization is the raw difference of protocol `corrected`, whatever the protocol, less
# what a seed's two trainings do to all samples alike: the mean of all candidates is `(C-I)/2` of the report. The top 10 %
# are chosen at each epoch by one half of the seeds and measured by the other, both ways; dashed is what the paper draws,
# the mean of those that all seeds choose by the very scores that are averaged: it is above zero even where nothing is
# memorized. Intervals (95 %) are over seeds, for these samples.

# %%
trajectory = memorization_over_training(opened.tree) if "trajectory" in opened.tree.children else None
if trajectory is None:
    display(Markdown("These encoders were trained elsewhere: nothing is known of their epochs."))
else:
    over_training = fig02b.plot(trajectory)
    save_figure(over_training, out or opened.figures, "fig02b")
    if trajectory.attrs["missing"]:
        display(Markdown(trajectory.attrs["missing"]))
    display(show(over_training))

# %%
if trajectory is not None:
    columns = ["loss", "probe_accuracy", "mean", "effect", "top_effect", "top_effect_naive"]
    table = trajectory[columns].to_dataframe()
    for name in ("effect", "top_effect"):
        for place, bound in enumerate(("low", "high")):
            values = trajectory[f"{name}_interval"].sel(bound=bound).values
            table.insert(table.columns.get_loc(name) + 1 + place, f"{name}_{bound}", values)
    display(table.round(4))

# %% [markdown]
# ## 2c: scores of the four partitions
# Each row has its own vertical scale, for the partitions differ in size. Shared and extra samples should sit around
# zero. A mean that is a little off zero there is the offset between two trainings, common to all samples; more seeds
# reduce it.

# %%
partitions = fig02c.plot(scores, statistics.partition_summary(scores), bins=bins)
save_figure(partitions, out or opened.figures, "fig02c")
show(partitions)
