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
# # Figure 4: does the regularizer lower memorization, and accuracy with it?
#
# Studies that differ in `objective.regularizer.weight` (lambda of eq. 3) alone; one without a regularizer has lambda 0. The paper reports that
# memorization and accuracy both fall as lambda rises. Presets: `mini/simclr-resnet` and `mini/simclr-resnet-lambda0.05` to `-lambda0.40`, the
# paper's `paper/cifar10-mae-vit-tiny` and so on.

# %%
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_study, studies_by_weight
from sslmem_kit.figures import fig04, interactive_figures, save_figure, show, warn
from sslmem_kit.statistics import memorization_by_weight

# %% tags=["parameters"]
study = "papermill_runs/mini-simclr-resnet"  # path of one of the studies
others = []  # paths of the others; by default all in the folder beside it that differ in lambda alone
out = ""  # folder that figures are written to; by default figures/ of the study
probe = "linear"  # linear or knn: whose accuracy is plotted

# %%
check_parameters(probe=probe)
opened = open_study(study)
studies = studies_by_weight(opened, others)
display(Markdown(", ".join(f"`{one.path.name}`" for one in studies)))
display(warn(opened))
for one in studies[1:]:
    display(warn(one))
if len(studies) < 2:
    display(
        Markdown(
            "**There is nothing to compare**: no finished study beside this one differs in `objective.regularizer.weight` alone. "
            "Run some beside it, or name them by the parameter `others`."
        )
    )
found = memorization_by_weight([one.tree for one in studies], probe=probe) if len(studies) > 1 else None
interactive_figures()

# %% [markdown]
# ## Memorization and accuracy by lambda
# Memorization is the raw difference of protocol `corrected`, less what a seed's two trainings do to all samples alike:
# the mean of all candidates is `(C-I)/2` of the report. The top 10 % are chosen by one half of the seeds and measured by
# the other, both ways; dashed is the mean of those that all seeds choose by the very scores that are averaged, which is
# above zero even where nothing is memorized. Intervals (95 %) are over seeds, for these samples.

# %%
if found is not None and found.attrs["seeds"] > 1:
    figure = fig04.plot(found)
    save_figure(figure, out or opened.figures, "fig04")
    display(show(figure))
elif found is not None:
    display(Markdown(found.attrs["missing"]))

# %% [markdown]
# ## Does it fall?
# Slopes on lambda within each seed, whose mean is tested over seeds; `p_holm`: over these claims. Distances grow with lambda, which enlarges
# them, and their differences with them: `relative` is memorization as a share of the mean distance.

# %%
if found is not None:
    slopes = found[["slope", "p", "p_holm", "decision"]].to_dataframe().set_index("in_words")
    for place, bound in enumerate(("low", "high")):
        slopes.insert(1 + place, bound, found["slope_interval"].sel(bound=bound).values)
    display(slopes)

# %%
if found is not None:
    names = ["effect", "relative", "top_effect", "accuracy", "alignment"]
    table = found[names].to_dataframe()
    for name in names:
        for place, bound in enumerate(("low", "high")):
            table.insert(
                table.columns.get_loc(name) + 1 + place, f"{name}_{bound}", found[f"{name}_interval"].sel(bound=bound).values
            )
    display(table.round(4))
