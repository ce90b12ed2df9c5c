"""The detail of a sample: what it says, where it goes on to, and what it does without the optional groups."""

import shutil

import numpy as np
import pytest
import xarray as xr
from panel.models.esm import DataEvent

from sslmem_kit import store
from sslmem_kit.explorer.gallery import detail as detail_module
from sslmem_kit.explorer.gallery.detail import Detail, beside
from sslmem_kit.explorer.gallery.gallery import ranked, sort_key
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.store import integrity
from tests.support.fake_study import add_group, give_to_design, make_study


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    for name, seeds in (("three", 3), ("one", 1)):
        make_study(folder / name, seeds=seeds)
    results = folder / "three" / "results.zarr"
    ids = xr.open_zarr(results, consolidated=False)["sample"].values
    values = np.random.default_rng(1).random((len(ids), 6, 4), dtype=np.float32)
    layers = xr.Dataset({"alignment": (("sample", "encoder", "layer"), values)}, coords={"layer": [1, 2, 3, 4]})
    layers.to_zarr(results, group="layers", mode="a", zarr_format=3, consolidated=False)
    store.finish(results)
    integrity.renew(results)
    bare = make_study(folder / "bare").results_path
    for group in ("views", "neighbours"):
        shutil.rmtree(bare / group)
    store.finish(bare)
    make_study(folder / "begun", complete=False)
    return Library([folder / name for name in ("three", "one", "bare", "begun")])


@pytest.fixture
def session(library):
    return Session(library)


@pytest.fixture
def detail(session):
    return Detail(session)


def heard(part, **message):
    part.view._process_event(DataEvent(None, data=message))


def kept(session, index=0):
    """Id of a sample whose views and neighbours the store holds."""
    return int(session.opened.tree["views/kept"].values[index])


def test_nothing_open_says_what_to_do(detail):
    assert detail.view.record is None
    assert detail.view.message == "No sample is open: choose one in the gallery, or tap a point in the scatter."


def test_what_is_said_of_a_sample(session, detail):
    session.sample = kept(session)
    record, position = detail.view.record, int(session.opened.positions(np.array([session.sample]))[0])
    facts = {name: value for name, value, _ in record["facts"]}
    assert record["id"] == session.sample
    assert record["class"] == session.class_name(position)
    assert facts["score"] == f"{session.scores['sslmem'].values[position]:.4f}"
    assert facts["z against the null"] == f"{session.scores['z'].values[position]:.2f}"
    assert record["size"] == "8 x 8 pixels"
    assert detail.view.message == ""


def test_alignment_by_encoder_gives_the_score(session, detail):
    session.sample = kept(session)
    position = int(session.opened.positions(np.array([session.sample]))[0])
    for protocol in ("corrected", "paper", "released"):
        session.protocol = protocol
        encoders = detail.view.record["encoders"]
        mean = {family: np.mean([each["value"] for each in encoders if each["family"] == family]) for family in "fg"}
        assert mean["g"] - mean["f"] == pytest.approx(float(session.scores["difference"].values[position]), abs=1e-6)
        trained = session.opened.tree["trained_on"].isel(sample=position).values
        assert [each["trained_on"] for each in encoders] == trained.tolist()


def test_encoders_that_the_filters_leave_out_are_marked(session, detail):
    session.sample = kept(session)
    session.seed = [0, 1]
    assert [each["id"] for each in detail.view.record["encoders"] if not each["counted"]] == ["f-2", "g-2"]


def test_views_and_their_distances(session, detail):
    session.seed = [1, 2]  # the others do not count
    session.sample = kept(session)
    views = detail.view.record["views"]
    position = int(session.opened.positions(np.array([session.sample]))[0])
    assert [view["name"] for view in views] == ["clean image", "view 1", "view 2", "view 3", "view 4"]
    alignment = session.opened.tree["alignment"].isel(sample=position, encoder=slice(2, None)).load()
    for number in (1, 4):
        pair = alignment[(alignment["view_a"] == 0) & (alignment["view_b"] == number)]
        expected = [f"{family} {float(pair.sel(encoder=pair['family'] == family).mean()):.3f}" for family in "fg"]
        assert views[number]["distances"] == "\n".join(expected)
    # View 0 is the clean image.
    assert views[0]["picture"] == detail.view.record["picture"]


def test_charts(session, detail):
    session.sample = kept(session)
    position = int(session.opened.positions(np.array([session.sample]))[0])
    path, layers = detail.view.record["charts"]
    stored = session.opened.tree["trajectory/alignment"].isel(sample=position).values
    assert path["x_names"] == ["2", "4", "6"]
    assert path["series"][0]["y"] == pytest.approx(stored[::2].mean(axis=0), abs=1e-5)
    assert path["series"][1]["y"] == pytest.approx(stored[1::2].mean(axis=0), abs=1e-5)
    assert [line["name"] for line in layers["series"]] == list(session.encoders)
    assert layers["series"][1]["y"] == pytest.approx(session.opened.tree["layers/alignment"].values[position, 1], abs=1e-5)


def test_neighbours_of_the_chosen_encoder(session, detail):
    session.sample = kept(session, 3)
    stored = session.opened.tree["neighbours"].to_dataset(inherit=False).sel(kept=session.sample)
    labels, trained = session.opened.labels, session.opened.tree["trained_on"].values
    own = labels[session.opened.positions(np.array([session.sample]))[0]]
    for index, name in ((0, "f-0"), (3, "g-1")):
        heard(detail, encoder=name)
        assert detail.view.encoder == name
        assert [each["id"] for each in detail.view.neighbours] == stored["neighbour"].values[index].tolist()
        positions = session.opened.positions(stored["neighbour"].values[index])
        assert [each["same"] for each in detail.view.neighbours] == (labels[positions] == own).tolist()
        assert [each["trained_on"] for each in detail.view.neighbours] == trained[positions, index].tolist()
    session.sample = kept(session, 4)
    assert detail.view.encoder == "g-1"  # the choice stays


def test_encoders_of_other_designs_are_left_out(tmp_path):
    study = make_study(tmp_path / "designs", seeds=3)
    give_to_design(study, "subset", seeds=[1])
    n = xr.open_zarr(study.results_path).sizes["sample"]
    values = np.random.default_rng(1).random((n, 6, 4), dtype=np.float32)
    add_group(study, "layers", xr.Dataset({"alignment": (("sample", "encoder", "layer"), values)}))
    session = Session(Library([study.path]))
    detail = Detail(session)
    session.sample = kept(session)
    position = int(session.opened.positions(np.array([session.sample]))[0])
    pairs = ["f-0", "g-0", "f-2", "g-2"]
    assert list(session.encoders) == pairs
    assert detail.view.record["neighbour_encoders"] == pairs
    lines = detail.view.record["charts"][-1]["series"]
    assert [(line["name"], line["family"]) for line in lines] == list(zip(pairs, "fgfg", strict=True))
    assert lines[2]["y"] == pytest.approx(values[position, 4], abs=1e-5)
    heard(detail, encoder="g-2")
    expected = study.tree["neighbours/neighbour"].sel(kept=session.sample).isel(encoder=5)
    assert [each["id"] for each in detail.view.neighbours] == expected.values.tolist()
    seen = study.tree["trained_on"].sel(sample=expected.values, encoder="g-2").values.tolist()
    assert [each["trained_on"] for each in detail.view.neighbours] == seen
    heard(detail, encoder="f-1")
    assert detail.view.encoder == "g-2"


def test_a_neighbour_opens(session, detail):
    session.sample = kept(session)
    to = detail.view.neighbours[0]["id"]
    heard(detail, open=to)
    assert session.sample == detail.view.record["id"] == to


def test_stepping_follows_the_gallery_and_ends(session, detail):
    session.select(np.arange(0, 20, 2))
    session.sort = "quantile"
    listed = session.listed()
    order = session.opened.ids[listed[ranked(sort_key(session, listed), 0, len(listed))]].tolist()
    session.sample = order[0]
    seen = [session.sample]
    for _ in order[1:]:
        heard(detail, step=1)
        seen.append(session.sample)
    assert seen == order
    heard(detail, step=1)
    assert session.sample == order[-1]
    assert detail.view.message == "This is the last one in the order of the gallery."
    for _ in order[1:]:
        heard(detail, step=-1)
    assert session.sample == order[0]
    assert detail.view.message == ""
    heard(detail, step=-1)
    assert detail.view.message == "This is the first one in the order of the gallery."


def test_stepping_from_a_sample_that_is_not_listed(session):
    session.select(np.arange(0, 60, 2))
    column = session.column("sslmem")
    after = beside(session, 1, 1)
    assert after == max((p for p in range(0, 60, 2) if column[p] < column[1]), key=lambda p: column[p], default=None)


def test_closing(session, detail):
    session.sample = kept(session)
    heard(detail, open=None)
    assert session.sample is None
    assert detail.view.record is None


def test_without_views_neighbours_and_layers(session, detail):
    session.study = "bare"
    session.sample = int(session.opened.ids[0])
    record = detail.view.record
    assert record["views"] == []
    assert record["views_note"] == record["neighbours_note"] == "This study keeps none."
    assert record["neighbour_encoders"] == detail.view.neighbours == []
    assert [chart["title"] for chart in record["charts"]] == ["Path over epochs"]


def test_one_seed_has_no_interval_and_no_nan(library):
    session = Session(library)
    session.study = "one"
    detail = Detail(session)
    session.sample = kept(session)
    assert ["95 % interval", "not defined (one seed)", "interval not defined with one seed"] in detail.view.record["facts"]
    assert "nan" not in str(detail.view.record["facts"]).lower()


def test_a_moved_threshold_does_not_touch_it(session, detail, monkeypatch):
    session.sample = kept(session)
    monkeypatch.setattr(detail_module.SampleRecord, "alignment", lambda *_: pytest.fail("the sample was read again"))
    names = []
    detail.view.param.watch(lambda *events: names.extend(event.name for event in events), list(detail.view.param))
    session.threshold = session.limit * 1.1
    session.select(np.arange(4))
    session.sort = "z"
    assert not names


@pytest.mark.parametrize("lost", ["views/thumbnail", "neighbours/neighbour"])
def test_a_damaged_part_is_told_and_the_rest_is_shown(tmp_path, lost):
    study = make_study(tmp_path / "study")
    for chunk in [path for path in (study.results_path / lost / "c").rglob("*") if path.is_file()]:
        chunk.unlink()
    session = Session(Library([study.path]))
    detail = Detail(session)
    session.sample = kept(session)
    group = lost.split("/")[0]
    assert f"The {group} of this sample are damaged" in detail.view.record[f"{group}_note"]
    assert detail.view.record["encoders"]
    assert bool(detail.view.record["views"]) == (group != "views")
    assert bool(detail.view.neighbours) == (group != "neighbours")


def test_a_flipped_bit_in_a_view_is_told(tmp_path):
    study = make_study(tmp_path / "study")
    for chunk in [path for path in (study.results_path / "views/thumbnail/c").rglob("*") if path.is_file()]:
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    session = Session(Library([study.path]))
    detail = Detail(session)
    session.sample = kept(session)
    assert "cannot be read" in detail.view.record["views_note"]
    assert detail.view.record["encoders"]


def test_nothing_to_show_is_no_error(session, detail):
    session.sample = kept(session)
    session.study = "begun"
    assert detail.view.record is None
    assert detail.view.message == ""
    heard(detail, open=3, step=1, encoder="f-0", pictures=[0])


@pytest.mark.parametrize(
    "message",
    [{"open": "x"}, {"step": 7}, {"step": 1.5}, {"encoder": "nobody"}, {"encoder": ["f-0"]}, {"pictures": 3}, {"encoder": None}],
)
def test_what_a_browser_should_not_send_does_nothing(session, detail, message):
    heard(detail, **message)
    assert session.sample is None
    session.sample = before = kept(session)
    heard(detail, **message)
    assert session.sample == before
    assert detail.view.encoder == "f-0"


def test_the_front_end_writes_no_markup():
    source = detail_module.DetailSheet._esm
    assert "innerHTML" not in source
    assert "import " not in source
