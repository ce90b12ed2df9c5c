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
# # What less memorization costs
#
# The mitigation frontier: accuracy against what an encoder memorizes, for treatments of the most memorized candidates, of as many at
# random, and of all samples. Every number has its interval over seeds, and every difference its test.

# %%
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_frontier
from sslmem_kit.figures import frontier, interactive_figures, save_figure, show, warn
from sslmem_kit.statistics.frontier import frontier_differences, frontier_means, frontier_measures, frontier_verdict

# %% tags=["parameters"]
study = "papermill_runs/mini-mnist-mitigation"  # path of a mitigation frontier's directory
out = ""  # folder that figures are written to; by default figures/ of the frontier
probe = "linear"  # linear, knn ...: the probe of the accuracies

# %%
check_parameters(probe=probe)
opened = open_frontier(study)
display(warn(opened))
results = opened.results
measures = frontier_measures(results, probe=probe)
means, differences = frontier_means(measures), frontier_differences(measures)
verdict = frontier_verdict(differences)
display(Markdown(verdict.sentence))
interactive_figures()

# %% [markdown]
# ## Accuracy against memorization
# Memorization of f against one g for all arms, that of the untreated study; and by f alone, as the chance that a candidate lies closer
# than a sample that f did not see. Bars are of one arm; whether two arms differ is in the paired differences below.

# %%
known = results.sizes["seed"] > 1
for place, task in enumerate(results["task"].values.tolist() if known else ()):
    for measure in ("memorization", "auc"):
        figure = frontier.plot(means, task, measure=measure)
        save_figure(figure, out or opened.figures, f"frontier_{probe}_{measure}_{place}")
        display(show(figure))
if not known:
    display(Markdown("Nothing to draw: one seed has no interval."))

# %% [markdown]
# ## Differences
# `baseline`: less the untreated study. `random`: less the control, that treats as many candidates at random. `p_holm`: of no difference,
# over arms.

# %%
columns = ["difference", "p_holm", "p_equivalence", "seeds_needed", "decision"]
table = differences[columns].to_dataframe().reset_index()
table = table[table["decision"] != ""].set_index(["against", "arm", "measure"])[columns]
table.insert(1, "low", differences["interval"].sel(bound="low").to_series().reindex(table.index))
table.insert(2, "high", differences["interval"].sel(bound="high").to_series().reindex(table.index))
table.round(4)

# %%
for head, sentences in (("can say", verdict.can), ("cannot say", verdict.cannot)):
    display(Markdown("\n".join([f"{head}:", "", *(f"- {sentence}" for sentence in sentences)])))
