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
# # Does removing the most memorized samples hurt more?
#
# Figures 3, 6 and 7, Table 17: encoders trained without the most memorized samples, against encoders without as many others. Every number
# has its interval over seeds and random sets, and every claim its test.

# %%
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_tree
from sslmem_kit.figures import fig03, interactive_figures, save_figure, show, warn
from sslmem_kit.statistics import removal_curves, removal_differences, removal_verdict

# %% tags=["parameters"]
study = "papermill_runs/mini-mnist-removal"  # path of a removal tree's directory
out = ""  # folder that figures are written to; by default figures/ of the tree
probe = "linear"  # linear, knn ...: the probe that is plotted

# %%
check_parameters(probe=probe)
opened = open_tree(study)
display(warn(opened))
results = opened.results
curves, differences = removal_curves(results), removal_differences(results)
overall = removal_differences(results, over_amounts=True)
verdict = removal_verdict(overall, opened.spec.orders)
display(Markdown(verdict.sentence))
interactive_figures()

# %% [markdown]
# ## Accuracy
# Intervals of one line say how far *its* encoders differ among seeds and sets, which all lines share in part: whether two lines differ is in
# the paired differences below.

# %%
known = results.sizes["seed"] > 1
for task in results["task"].values if known else ():
    figure = fig03.plot(curves, task, probe=probe)
    save_figure(figure, out or opened.figures, f"fig03_{probe}_{results['task'].values.tolist().index(task)}")
    display(show(figure))
if not known:
    display(Markdown("Nothing to draw: one seed has no interval."))

# %% [markdown]
# ## Paired differences
# The most memorized against others, at the same amount and seed. Dashed lines are the margin within which a difference counts as none.

# %%
for task in results["task"].values if known else ():
    figure = fig03.differences(differences, task, probe=probe)
    save_figure(figure, out or opened.figures, f"fig03_differences_{probe}_{results['task'].values.tolist().index(task)}")
    display(show(figure))

# %% [markdown]
# ## Decisions, over amounts
# `p_holm`: of no difference, over tasks. `p_equivalence`: of a difference as large as the margin. `seeds_needed`: with as many random sets,
# that would decide with a power of 80 %.

# %%
table = overall[["difference", "p_holm", "p_equivalence", "seeds_needed", "decision"]].to_dataframe().reset_index()
order = ["contrast", "task", "probe"]
table = table.set_index(order)[["claim", "over", "difference", "p_holm", "p_equivalence", "seeds_needed", "decision"]]
table.insert(3, "low", overall["interval"].sel(bound="low").to_series().reindex(table.index))
table.insert(4, "high", overall["interval"].sel(bound="high").to_series().reindex(table.index))
table.round(4)

# %%
for head, sentences in (("can say", verdict.can), ("cannot say", verdict.cannot)):
    display(Markdown("\n".join([f"{head}:", "", *(f"- {sentence}" for sentence in sentences)])))
