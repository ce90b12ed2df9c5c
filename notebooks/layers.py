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
# # Where it is memorized: layers and units
#
# For a study whose spec has `scoring: {layers: auto}`. Alignment is then measured at every layer in the same forward
# passes, and for every unit of these layers how much more it responds to one sample than to all others (UnitMem of
# Wang et al. 2024). For a study without layers the cells below say so and show nothing.

# %%
import pandas as pd
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_study, statistics
from sslmem_kit.figures import interactive_figures, layers, save_figure, show, units, warn

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # scores by layer are those of this protocol alone: its mean over pairs of views is what is stored

# %%
check_parameters(protocol=protocol)
opened = open_study(study)
display(warn(opened))
with_layers, with_units = (name in opened.tree.children for name in ("layers", "units"))
if protocol != "corrected":
    display(Markdown(f"**Scores by layer are kept for protocol corrected alone, {protocol} was asked for; shown is corrected.**"))
if with_layers:
    display(interactive_figures())
else:
    display(Markdown("**This study was scored without layers.** Set `scoring: {layers: auto}` in the spec of a new study."))

# %% [markdown]
# ## Scores by layer
# The last layer is the encoder's full representation, whose scores are those of the study. Distances of different layers differ
# in size whatever is memorized, so compare layers by the share of its distance that a candidate is closer for training, against
# shared samples, on the right; its intervals are over seeds (Student's), and none is known of one pair of encoders. Cohen's d is in
# the table: its unit is the noise of training, so that it grows with the number of pairs. Its intervals, and those of means, are
# over samples, given the encoders; those of two layers are of the same samples and not independent.

# %%
if with_layers:
    scores = statistics.layer_scores(opened.tree)
    table = statistics.layer_table(scores)
    by_layer = layers.plot(table)
    save_figure(by_layer, out or opened.figures, "layers")
    display(show(by_layer))

# %%
if with_layers:
    means, intervals = table["mean"].to_pandas(), table["effect_interval"].to_pandas()
    effects = table["effect"].to_series().rename("d (C>S)")
    closer = table["relative_effect"].to_series().rename("closer by")
    over_seeds = table["relative_effect_interval"].to_pandas().rename(columns="{} (seeds)".format)
    p_values = statistics.layer_tests(scores)["p"].to_pandas().rename(columns="p ({})".format)
    rows = pd.concat([means, closer, over_seeds, effects, intervals.rename(columns="{} (samples)".format), p_values], axis=1)
    display(rows.map(lambda value: f"{value:.3g}"))

# %% [markdown]
# ## Units
# UnitMem is 0 for a unit that responds to all samples alike and 1 for one that responds to a single sample, which is chosen
# on one half of the views and measured on the other; the grey dots are what samples chosen at random give. By itself it
# says nothing of training: of many samples one is always the strongest, and an encoder that never saw it may be as
# selective. The right panel asks what training adds: of the units whose strongest sample is a candidate or an independent
# one, in how many has their encoder been trained on it? The grey bars are 95 % of what chance gives.

# %%
if with_units:
    seen = statistics.strongest_seen(opened.tree)
    by_unit = units.plot(statistics.unit_table(opened.tree), seen)
    save_figure(by_unit, out or opened.figures, "units")
    display(show(by_unit))

# %%
if with_units:
    intervals = seen["null_interval"].to_pandas().rename(columns="null {}".format)
    display(seen.drop_dims("bound").to_dataframe().join(intervals).round(4))
