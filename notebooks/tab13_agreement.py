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
# # Table 13, figures 8 and 9: do scores agree?
#
# The scores of a study that `sslmem compare` has measured beside SSLMem, or SSLMem of several studies of the same samples (SSL methods and
# supervised training, as in table 13). Two noisy scores agree less than what they measure does; what noise takes from them is taken off.

# %%
from IPython.display import Markdown, display

from sslmem_kit import check_parameters, open_study, statistics
from sslmem_kit.figures import agreement, interactive_figures, save_figure, show, warn
from sslmem_kit.report import agreement_as_text, planted_as_text

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
others = []  # paths of studies of the same data and partition, whose SSLMem is compared; by default the study's own scores are
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances
count = 10  # number of samples in a row of the galleries

# %%
check_parameters(protocol=protocol, count=count)
opened = open_study(study)
studies = {one.path.name: one for one in (opened, *map(open_study, others))}
display(warn(opened))
for one in [*studies.values()][1:]:
    display(warn(one))
replicates = statistics.scores_of_studies({name: (one.scores(protocol), one.tree) for name, one in studies.items()})
enough = len(replicates) > 1
if not enough:
    display(
        Markdown(
            "**There is nothing to compare**: the study has one score. Measure others by `sslmem compare`, or name studies of the same "
            "data and partition by the parameter `others`."
        )
    )
interactive_figures()

# %% [markdown]
# ## Kendall's tau
# Above the diagonal tau of the candidates' scores, with its 95 % interval over samples and trainings. On the diagonal the reliability of each
# score: the share of its variance that other trainings would repeat. Below, the tau of endless seeds, by seeds of different trainings: noise
# that two scores share, for they are of one training, is no agreement. The paper's table gives p-values that do not follow from its
# taus and 5,000 samples; these are computed.

# %%
if enough:
    display(show(agreement.matrix(found := statistics.score_agreement(replicates))))
    save_figure(agreement.matrix(found), out or opened.figures, "tab13")
    display(Markdown("```text\n" + "\n".join(agreement_as_text(replicates)) + "\n```"))

# %% [markdown]
# ## Figure 8: overlap of the highest samples
# Of two unrelated orders of n samples, k² / n of the k highest are common on average; grey is where 95 % of such orders lie.

# %%
if enough:
    means = statistics.mean_scores(replicates)
    figure = agreement.overlap(statistics.score_overlap(means), score=next(iter(means)))
    save_figure(figure, out or opened.figures, "fig08")
    display(show(figure))

# %% [markdown]
# ## Figure 9: the highest samples side by side

# %%
if enough and "images" in opened.tree.children:
    figure = agreement.galleries(means, opened.results, opened.tree["images/thumbnail"], count=count)
    save_figure(figure, out or opened.figures, "fig09")
    display(show(figure, interactive=False))

# %% [markdown]
# ## Planted samples
# Where a study was run with `data.plant`: the probability that a planted candidate is above a clean one.

# %%
display(Markdown("```text\n" + ("\n".join(planted_as_text(opened)) or "nothing is planted in this study") + "\n```"))
