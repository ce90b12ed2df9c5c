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
import xarray as xr

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
# `low` and `high` bound the mean by a 95 % bootstrap over samples. Under `paper` and `released` the scores are divided
# by the range over the candidates, which depends on the two most extreme ones; the division changes neither t nor d.

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
# ## Table 16: partitions against zero
# The mean of the shared samples is tested two-sided: nothing is expected there.

# %%
rows[rows["alternative"].isin(statistics.TABLE_16)].style.hide(axis="index")

# %% [markdown]
# ## How far these tests reach
# They are over samples, **given the encoders**. With thousands of samples almost any offset between two trainings is
# significant, also one of the shared samples against zero, and a p-value near zero does not promise that other encoders
# would show the same. The next table takes the training seed as the unit in place of the sample: the mean raw
# difference g - f of each partition and seed. An effect that is real keeps its sign from row to row.

# %%
alignment = opened.results["alignment"].mean("augmentation").load()
sign = xr.where(alignment["family"] == "g", 1, -1)
by_seed = (alignment * sign).groupby("seed").sum().groupby("partition").mean()
names = alignment["partition"].attrs["flag_meanings"].split()
by_seed.transpose("seed", "partition").to_pandas().rename(columns=lambda code: names[code]).round(5)

# %%
save_figure(table, out or opened.figures, "tab02")
f"The table is in {out or opened.figures}"
