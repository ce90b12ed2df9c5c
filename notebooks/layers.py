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

from sslmem_kit import check_parameters, open_study
from sslmem_kit.figures import interactive_figures, layers, save_figure, show, units, warn
from sslmem_kit.report import localized

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # scores by layer are those of this protocol alone: the mean over all pairs of views is what is stored

# %%
check_parameters(protocol=protocol)
opened = open_study(study)
display(warn(opened))
found = localized(opened.tree)
if protocol != "corrected":
    display(Markdown(f"**Scores by layer are kept for protocol corrected alone, {protocol} was asked for; shown is corrected.**"))
if found:
    display(interactive_figures())
else:
    display(Markdown("**This study was scored without layers.** Set `scoring: {layers: auto}` in the spec of a new study."))

# %% [markdown]
# ## Scores by layer
# The last layer is the encoder's whole output, whose scores are those of the study. Distances of different layers differ
# in size whatever is memorized, so compare layers by Cohen's d, on the right. Intervals are over samples, given the
# encoders; those of two layers are of the same samples and not independent.

# %%
if found:
    by_layer = layers.plot(found["layers"])
    save_figure(by_layer, out or opened.figures, "layers")
    display(show(by_layer))

# %%
if found:
    rows = {
        row["layer"]: {
            **{name: part["mean"] for name, part in row["partitions"].items()},
            "d (C>S)": row["effect"],
            "low": row["effect_interval"][0],
            "high": row["effect_interval"][1],
            **{f"p ({test['alternative']})": test["p"] for test in row["tests"]},
        }
        for row in found["layers"]
    }
    display(pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer").map(lambda value: f"{value:.3g}"))

# %% [markdown]
# ## Units
# UnitMem is 0 for a unit that responds to all samples alike and 1 for one that responds to a single sample. By itself it
# says nothing of training: of many samples one is always the strongest, and an encoder that never saw it may be as
# selective. The right panel asks what training adds: of the units whose strongest sample is a candidate or an independent
# one, in how many has their encoder been trained on it? The grey bars are 95 % of what chance gives.

# %%
if "units" in found:
    by_unit = units.plot(found["units"], found["strongest_seen"])
    save_figure(by_unit, out or opened.figures, "units")
    display(show(by_unit))

# %%
if "units" in found:
    display(pd.DataFrame(found["strongest_seen"]).set_index("layer").round(4))
