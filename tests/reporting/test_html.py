"""The HTML page: what stands in it, and what it does in a real browser."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest

from perceptbench.reporting import html, run_folder

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


class Page(HTMLParser):
    """Start tags with their attributes, and the text of the elements."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def page_of(run):
    return html.render(run)["leaderboard.html"]


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def page(make_run):
    """The page of the small run."""
    return page_of(make_run())


def test_the_table_stands_in_the_page_without_script(page):
    words = " ".join(" ".join(Page(page).words).split())
    for said in (
        "good stands first of 3 metrics on 2 datasets",
        "0.825", "[0.7", "1.000", "attained", "new dataset", "places", "2-3",
        "What to choose", "The best may be good: no other metric can be it.",
        "oracle", "human", "judged items",
        "skipped absent: no weights.", "failed ratings: pair (r0, bad): no such image",
        "ratings srcc by distortion", "blur (12)", "noise (12)",
        "net on choices 2afc", "features.2",
        "net.pth eeeeeeeeeeee", "perceptbench run `x` <y>",
    ):  # fmt: skip
        assert said in words, said
    rows = [a["data-name"] for tag, a in Page(page).tags if tag == "tr" and "data-name" in a]
    assert rows == ["good", "fair", "bad"]


def test_the_numbers_of_the_script_are_those_of_the_tables(run, page):
    data = data_of(page)
    assert [m["name"] for m in data["metrics"]] == ["good", "fair", "bad"]
    assert data["metrics"][0]["seconds"] == 0.002 and data["metrics"][2]["seconds"] is None
    figure = next(f for f in data["figures"] if f["title"] == "choices 2afc")
    paired, stored = figure["paired"], run.comparisons.set_index(["dataset", "a", "b"])
    assert paired["of"] == [0, 1, 2]
    # the pairs in order: good - fair, good - bad, fair - bad
    assert paired["value"][1] == pytest.approx(stored.loc[("choices", "good", "bad")].difference)
    assert paired["low"][0] == pytest.approx(stored.loc[("choices", "good", "fair")].low, abs=1e-5)
    ratings, choices = data["items"]
    assert ratings["answer"] == "impairment" and len(ratings["people"]) == 24
    assert ratings["signal"][0] == pytest.approx(ratings["people"], rel=1e-3)
    assert set(ratings["signal"][2]) == {None}  # undefined there
    assert choices["roles"] == ["a", "reference", "b"] and choices["curves"][0]
    pictures = {image["key"]: image["picture"] for image in data["images"]}
    assert pictures["a1"].startswith("data:image/png;base64,") and pictures["r0"] is None


def test_nothing_is_loaded_from_elsewhere_and_names_stay_names(nasty_run, nasty):
    page = Page(page_of(nasty_run))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert nasty in "".join(page.words)
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


@pytest.fixture(scope="module")
def embedded():
    """The page of the committed run of the embedded suite."""
    return page_of(run_folder.read(Path(__file__).parents[2] / "reports" / "embedded"))


def test_disputed_images_are_told_in_words(page, embedded):
    words, own = (" ".join(" ".join(Page(p).words).split()) for p in (embedded, page))
    assert re.search(
        r"1/f noise, with an edge of RMS contrast 0\.\d+, ramps of 0\.\d+ deg pink1/", words
    )
    assert re.search(r"reference blank field (60|120)ppd/blank", words)
    # A table of one's own says what it says.
    assert re.search("(blur|noise) people: impairment", own)


def test_many_items_are_thinned_and_said_to_be(run, monkeypatch):
    monkeypatch.setattr("perceptbench.reporting.strips.MOST_POINTS", 10)
    sets = data_of(page_of(run))["items"]
    assert [len(s["people"]) for s in sets] == [10, 10]
    assert sets[0]["title"] == "ratings rating (10 of 24 items shown)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    for program in (CHROMIUM, DRIVER):
        if not shutil.which(program):
            pytest.skip(f"no browser: {program} is not there (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tmp_path_factory.mktemp("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--window-size=1280,1000", f"--user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    except Exception as error:  # a browser installed by halves
        pytest.skip(f"the browser does not start: {error}")
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page from disk; afterwards, nothing was logged and nothing was fetched."""

    browser.get("about:blank")
    browser.get_log("performance")  # that of the browser's own first page

    def open_page(text):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    fetched = {
        event["params"]["request"]["url"].partition(":")[0]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert fetched <= {"file", "data"}


def names(driver):
    script = (
        "return [...document.querySelectorAll('#board tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.dataset.name)"
    )
    return driver.execute_script(script)


def find(driver, selector):
    return driver.find_element("css selector", selector)


def test_headings_sort_and_undefined_figures_stay_last(visit, page):
    driver = visit(page)
    by_name = find(driver, "[data-key=name]")
    by_name.click()
    assert names(driver) == ["bad", "fair", "good"]
    assert by_name.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    by_name.click()
    assert names(driver) == ["good", "fair", "bad"]
    srcc = find(driver, "[data-key=f0]")
    for first in ("good", "fair"):  # larger is better, then the other way round
        srcc.click()
        assert names(driver)[0] == first and names(driver)[-1] == "bad"
    assert find(driver, "tfoot th").text == "human"


def test_the_filter_keeps_what_has_the_words_and_datasets_can_be_hidden(visit, page):
    driver = visit(page)
    box = find(driver, "#filter")
    box.send_keys("NET layer")
    assert names(driver) == ["good", "fair"]
    assert find(driver, "#shown").text == "2 of 3 metrics"
    box.send_keys(" nothing")
    assert names(driver) == []
    box.clear()
    box.send_keys(" ")
    assert len(names(driver)) == 3
    find(driver, "input.dataset[value='1']").click()
    heads = driver.find_elements("css selector", "#board thead .fig")
    assert [head.is_displayed() for head in heads] == [True, True, False]


def test_two_metrics_are_compared_and_followed_through_the_page(visit, page):
    from selenium.webdriver.support.ui import Select

    driver = visit(page)
    Select(find(driver, "#pick-b")).select_by_visible_text("bad")
    verdict = find(driver, "#verdict").text
    assert verdict == "good agrees better with people on choices 2afc."
    line = next(r for r in driver.find_elements("css selector", "#differences tbody tr")
                if "choices" in r.text)  # fmt: skip
    assert "+0.650 [+0.5" in line.text and "p < 0.001" in line.text
    find(driver, "#swap").click()
    line = next(r for r in driver.find_elements("css selector", "#differences tbody tr")
                if "choices" in r.text)  # fmt: skip
    assert "−0.650" in line.text and "is-b" in line.get_attribute("class")
    assert "is-b" in find(driver, "#board tr[data-name=good]").get_attribute("class")
    Select(find(driver, "#pick-items")).select_by_visible_text("choices 2afc")
    assert "opposite images on 24 of 24 items" in find(driver, "#disagree-about").text
    assert len(driver.find_elements("css selector", "#disagree .strip")) == 6
    assert driver.find_elements("css selector", "#disagree img[src^='data:image/png']")
    assert "image not stored" in find(driver, "#disagree .strip").text


def test_plots_are_read_by_keyboard_and_the_theme_turns(visit, page):
    from selenium.webdriver.support.ui import Select

    driver = visit(page)
    plot = find(driver, "#scatters svg")
    assert "24 items" in plot.get_attribute("aria-label")
    plot.send_keys("\ue014")  # right arrow
    said = find(driver, "#scatters output").text
    assert said == "reference r0, distorted d0: people: impairment 0.1; good 0.1"
    Select(find(driver, "#pick-cost")).select_by_value("0")
    find(driver, "#costs svg").send_keys("\ue014")
    said = find(driver, "#costs output").text
    assert said.startswith("fair: 500 µs per pair, 2.5 M parameters") and "nothing cheaper" in said
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = driver.execute_script(paper)
    find(driver, "#theme").click()
    assert driver.execute_script(paper) != before


def test_names_of_any_kind_do_nothing_in_a_browser(visit, nasty_run, nasty):
    driver = visit(page_of(nasty_run))
    assert nasty in names(driver)
    assert not driver.find_elements("css selector", "img[src='x']")
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(wide) <= 0


@pytest.mark.parametrize("width", [400, pytest.param(1400, marks=pytest.mark.slow)])
def test_names_in_the_cost_plot_do_not_overlap(visit, embedded, width):
    from selenium.webdriver.support.ui import Select

    driver = visit(embedded)
    screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert driver.execute_script("return document.documentElement.clientWidth") <= width
    boxes = (
        "return [...document.querySelectorAll('#costs svg text')].map(t => [t.textContent, "
        "...['left', 'right', 'top', 'bottom'].map(k => t.getBoundingClientRect()[k])])"
    )
    for option in Select(find(driver, "#pick-cost")).options:
        option.click()
        found = driver.execute_script(boxes)
        assert find(driver, "#pick-a").text.split("\n")[0] in [row[0] for row in found]
        for (one, a, b, c, d), (other, e, f, g, h) in combinations(found, 2):
            assert b <= e or f <= a or d <= g or h <= c, (option.text, one, other)
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
