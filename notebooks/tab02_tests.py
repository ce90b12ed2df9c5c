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
# # Tables 2 and 16: tests of the partitions' mean scores
#
# Do candidates (C) score higher than shared (S) and extra (E) samples, and those higher than the independents (I)? And
# is each mean on its own side of zero?

# %%
from sslmem_kit import check_parameters, open_study, statistics
from sslmem_kit.figures import save_figure, tab02, warn

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances

# %%
check_parameters(protocol=protocol)
opened = open_study(study)
scores = opened.scores(protocol)
warn(opened)

# %% [markdown]
# ## Means of the partitions
# `low` and `high` bound the mean by a 95 % bootstrap over samples. Under `paper` and `released` the scores of each
# seed are divided by their range over the candidates, which depends on the two most extreme ones.

# %%
summary = statistics.partition_summary(scores)
rows = summary[["mean", "sd", "n"]].to_dataframe().join(summary["interval"].to_pandas())
rows[["mean", "low", "high", "sd", "n"]].rename_axis(None).round(5)

# %% [markdown]
# ## Table 2: partitions against each other
# One-sided tests; Welch's, for the partitions differ in size and spread. What the paper calls "effect size" is `t`,
# which grows with the number of samples; Cohen's d does not.

# %%
tests = statistics.partition_tests(scores)
table = tab02.plot(tests)
rows = table.dframe()
rows[rows["alternative"].isin(statistics.TABLE_2)].style.hide(axis="index")

# %% [markdown]
# ## Table 16: partitions against the null
# The paper tests each mean against zero. Two trainings differ by an offset that all samples share, and such a test finds it
# whether or not anything is memorized; the samples whose membership does not differ, shared and extra, hold the same offset.
# Candidates and independents are therefore compared with these, and shared with extra ones, two-sided: nothing is expected
# there. The paper's `t against zero` is in the last column; **it contains the offset**.

# %%
rows[rows["alternative"].isin(statistics.TABLE_16)].style.hide(axis="index")

# %% [markdown]
# ## How far these tests reach
# They are over samples, **given the encoders**: a p-value near zero does not promise that other encoders would show the
# same. The next tables take the training seed as the unit in place of the sample: the effects of membership, in which the
# offset cancels, with intervals over trainings, and the mean score of each partition and seed, which contains it. An effect
# that is real keeps its sign from row to row.

# %%
effects = statistics.effects(scores)
effects[["value", "sd", "seeds", "over", "p", "n"]].to_dataframe().join(effects["interval"].to_pandas()).round(5)

# %%
statistics.training_means(scores).T.to_pandas().round(5)

# %%
save_figure(table, out or opened.figures, "tab02")
f"The table is in {out or opened.figures}"
