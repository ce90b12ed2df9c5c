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
# # Quickstart: what did these encoders memorize?
#
# This notebook opens one *study*: pairs of self-supervised encoders **f** and **g**, trained alike but for a few
# hundred or thousand samples, and the alignment of every sample under each of them. It needs no GPU and no torch. To
# look at another study, change the first parameter; `sslmem render STUDY` does that for you and writes the executed
# notebook into the study's folder.

# %%
import numpy as np
import pandas as pd
from IPython.display import display

from sslmem_kit import PARTITIONS, check_parameters, open_study, statistics
from sslmem_kit.figures import fig02c, gallery, interactive_figures, save_figure, show, tab02, warn

# %% tags=["parameters"]
study = "papermill_runs/digits"  # path of a study directory
out = ""  # folder that figures are written to; by default figures/ of the study
protocol = "corrected"  # paper, released or corrected: how a score is made of the stored distances
gallery_count = 16  # thumbnails of the most, and of the least, memorized candidates
table_rows = 10  # rows of the table of top samples

# %%
check_parameters(protocol=protocol, gallery_count=gallery_count, table_rows=table_rows)
opened = open_study(study)
display(warn(opened))
interactive_figures()

# %% [markdown]
# ## What is in the study
# `results` is an xarray dataset. `alignment` holds, for every sample and every encoder, the distance between the
# representations of two *views* (augmented versions) of the sample; `trained_on` says which encoder saw which sample.

# %%
results = opened.results
about = {
    "study": opened.spec.name,
    "data": ", ".join(np.unique(results["dataset"].values)),
    "samples": f"{results.sizes['sample']:,}",
    "classes": ", ".join(opened.class_names[:12]) + (" ..." if len(opened.class_names) > 12 else ""),
    "encoders": ", ".join(results["encoder"].values),
    "method, backbone": ", ".join(np.unique([results["method"].values, results["backbone"].values])),
    "epochs": str(opened.tree["training"].sizes["epoch"]) if "training" in opened.tree.children else "trained elsewhere",
    "pairs of views": str(results.sizes["augmentation"]),
    "computed on": str(results.attrs["device"]),
}
pd.DataFrame({"": about})

# %% [markdown]
# ## How to read a score
# A sample's alignment under an encoder is small when the encoder maps the sample's views close together. The score
# **SSLMem** is the mean alignment under encoders that were *not* trained on the sample minus the mean under encoders
# that *were*:
#
# - **positive**: training on the sample pulled its views together more than generalization does. It is memorized by f.
# - **about zero**: the encoders treat it alike, whether they saw it or not.
# - **negative** (independent samples): memorized by g instead, the mirror image.
#
# Under `corrected` the score is that difference itself, made of both kinds of pairs of views. `paper` and `released` divide it by
# the range over the candidates: the range depends on the two most extreme candidates and on which candidates there are,
# so such scores are not comparable between studies.
#
# `standard_error` is the uncertainty of one sample's score over views and training seeds together. It cannot be had
# from one seed.

# %%
scores = opened.scores(protocol)
frame = scores.to_dataframe()
frame["partition"] = [PARTITIONS[code] for code in frame["partition"]]
frame["class"] = [opened.class_names[label] for label in frame["label"]]
columns = ["class", "sslmem", "difference", "standard_error", "z", "quantile", "alignment_f", "alignment_g"]
columns = [name for name in columns if name in frame]
top = frame[frame["partition"] == "candidate"].nlargest(table_rows, "sslmem")
top[columns].astype(dict.fromkeys(columns[1:], float)).round(4)

# %% [markdown]
# The most memorized candidates. `z` and `quantile` place a score among those of the samples whose membership does not
# differ between f and g (shared and extra): what the difference of two trainings looks like where there is nothing to
# memorize.
#
# ## The four partitions
# *Candidates* were seen by f only, *independents* by g only, *shared* samples by both, *extra* by neither. If f
# memorized its candidates, their distribution lies to the right of the two in the middle, and the independents lie to
# the left. The black line is the mean. Hover over a bar for its samples.

# %%
summary = statistics.partition_summary(scores)
partitions = fig02c.plot(scores, summary)
save_figure(partitions, out or opened.figures, "fig02c")
show(partitions)

# %% [markdown]
# ## Are the differences more than chance?
# `t` is the statistic that the paper prints as "effect size"; Cohen's d is the effect in units of the spread, and does
# not grow with the number of samples. **These tests are over samples, given these encoders.** They say that the
# partitions differ for the encoders at hand, not how another training run would come out: for that, look at the spread
# over seeds.

# %%
tests = statistics.partition_tests(scores, statistics.TABLE_2)
tab02.plot(tests).dframe().style.hide(axis="index")

# %% [markdown]
# ## The images
# The paper finds atypical images among the most memorized ones. Each caption gives sample id, class, score and, behind an arrow,
# what other encoders are expected to give (`shrunken`). Picking out the highest of many noisy scores overstates them: the headings
# give the mean of those shown beside that under seeds and views that did not choose them.

# %%
thumbnails = None
if "images" in opened.tree.children:
    extremes = statistics.cross_fitted(statistics.CrossedScores.of(results, protocol), gallery_count)
    thumbnails = gallery.plot(scores, opened.tree["images/thumbnail"], count=gallery_count, extremes=extremes)
    save_figure(thumbnails, out or opened.figures, "gallery")
show(thumbnails) if thumbnails is not None else "The samples of this study are no images."

# %% [markdown]
# ## Where to go next
# - `sslmem app STUDY` opens the explorer in a browser, `sslmem_kit.explore(study)` in a notebook: see `explorer`.
# - `fig02_insights`: alignment on f against g, and memorization over training.
# - `tab02_tests`: all tests of Tables 2 and 16, with the partitions' means and intervals.
# - `sslmem report STUDY --json` and `sslmem export STUDY --to scores.csv` give the numbers to other programs.
# - `opened.results` has everything from which this page was made.
