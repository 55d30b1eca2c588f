"""The page in a real browser, from opening it to the files that it writes."""

import json
import re
import time
from urllib.parse import urlsplit

import numpy as np
import onnx
import onnxruntime
import pytest
from playground import strokes

from funcnn import predictor


def draw(page, drawing):
    """Draw with the mouse on an empty pad; return the answer of the worker to the whole drawing."""
    page.click("#clear")
    draw_strokes(page, drawing)
    return answer(page)


def draw_strokes(page, drawing):
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for points in drawing:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def answer(page):
    page.wait_for_selector("#bars[aria-busy=false]", state="attached")
    return page.evaluate("messages.findLast((message) => message.answer?.image).answer")


def wait_until(page, expression, minutes=1.0):
    """Wait for an expression to be true; Playwright's own way is what the page's policy forbids: text made code."""
    until = time.monotonic() + 60 * minutes
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(100)


def percentage(page, selector):
    found = re.match(r"[\d.]+", page.inner_text(selector))
    return float(found[0]) if found else 0.0


def train_to(page, accuracy):
    wait_until(page, f"parseFloat(document.getElementById('accuracy').textContent) >= {accuracy}", minutes=5)


def pause(page):
    page.click("#pause:text('Pause')")
    page.wait_for_selector("#pause:text('Go on')")


def names_of(bars):
    return [line.split("\n")[0] for line in bars]


def download(page, kind, folder):
    with page.expect_download(timeout=10_000) as waiting:
        page.click(f"#save-{kind}")
        page.wait_for_selector(f"#saved:text('network.{kind}: ')")
    file = folder / f"network.{kind}"
    assert waiting.value.suggested_filename == file.name
    waiting.value.save_as(file)
    return file


def onnx_probabilities(file, images):
    onnx.checker.check_model(onnx.load(file), full_check=True)
    session = onnxruntime.InferenceSession(file)
    return session.run(None, {"x": np.reshape(images, (-1, 8, 8, 1)).astype(np.float32) / 16})[0]


@pytest.fixture(scope="module")
def trained(page):
    """The page after a training on the digits to 97 % of those held out."""
    page.select_option("#source", "digits")
    page.click("#start")
    train_to(page, 97)
    pause(page)
    return page


def test_it_says_what_it_loads(page):
    said = page.evaluate("messages.filter(({ type }) => type === 'progress')")
    steps = list(dict.fromkeys(message["what"] for message in said))
    assert [step.split()[:2] for step in steps] == [
        ["Looking", "for"], ["Loading", "Python"], ["Loading", "NumPy"], ["Loading", "funcnn"], ["Starting", "funcnn"]
    ]  # fmt: skip
    parts = [message["done"] for message in said]
    assert parts == sorted(parts) and parts[0] == 0 and 0.95 < parts[-1] <= 1
    assert len(set(parts)) > len(steps)  # it moves within a step, as often as the network delivers
    assert re.search(r"funcnn [\d.]+, NumPy 2\.0\.2, Python 3\.12\.\d+, Pyodide 0\.27\.7", page.inner_text("#versions"))


def test_from_opening_to_97_percent(trained):
    assert percentage(trained, "#accuracy") >= 97
    assert "359 held-out digits" in trained.inner_text("#accuracy-of")
    assert "Paused" in trained.inner_text("#status")
    epochs = int(trained.inner_text("#epoch"))
    assert trained.locator("#epochs tr").count() == epochs
    loss, accuracy = (trained.get_attribute(f"#{chart}-chart", "aria-label") for chart in ("loss", "accuracy"))
    assert re.fullmatch(r"Loss: from [\d.]+ to [\d.]+ in \d+ epochs", loss)
    assert re.fullmatch(r"Accuracy: from [\d.]+ % to 9[789][\d.]+ % in \d+ epochs", accuracy)


def test_kernels_and_feature_maps_are_shown_and_described(trained):
    assert re.match(r"16 kernels of 3 by 3 weights, from -", trained.get_attribute("#kernels", "aria-label"))
    assert re.match(r"16 feature maps of 8 by 8; the strongest", trained.get_attribute("#maps", "aria-label"))
    for picture in ("#kernels", "#maps", "#shown"):
        colours = trained.evaluate(
            "(selector) => { const c = document.querySelector(selector);"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return new Set(new Uint32Array(d.buffer)).size }",
            picture,
        )
        assert colours > 5, picture


def test_drawn_digits_are_recognised(trained):
    found = {}
    for digit, drawing in strokes.DIGITS.items():
        p = draw(trained, drawing)["probabilities"]
        found[digit] = str(np.argmax(p))
    assert sum(digit == name for digit, name in found.items()) >= 9, found
    wait_until(trained, "document.getElementById('verdict').textContent.startsWith('It is most like')")
    assert "9" in trained.inner_text("#verdict")


def test_probabilities_appear_while_one_draws(trained):
    answers = trained.evaluate("messages.filter((message) => message.answer?.probabilities).length")
    draw(trained, strokes.DIGITS["3"])
    assert trained.evaluate("messages.filter((message) => message.answer?.probabilities).length") > answers + 3
    lines = trained.locator("#bars li").all_inner_texts()
    assert names_of(lines) == [str(digit) for digit in range(10)]
    assert sum(float(re.search(r"([\d.]+) %", line)[1]) for line in lines) == pytest.approx(100, abs=0.6)


def test_touch_draws_as_the_mouse_does(trained):
    by_mouse = draw(trained, strokes.DIGITS["7"])["image"]
    trained.click("#clear")
    box = trained.locator("#pad").bounding_box()
    devtools = trained.context.new_cdp_session(trained)
    (points,) = strokes.DIGITS["7"]
    for i, (x, y) in enumerate(points):
        place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if i else "touchStart"
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert np.abs(np.subtract(answer(trained)["image"], by_mouse)).max() <= 1


def test_the_keyboard_draws(trained):
    trained.click("#clear")
    trained.focus("#pad")
    # a one: up from the middle, pen down, and down to the lower edge
    for key in [*["ArrowUp"] * 6, "Space", *["ArrowDown"] * 12]:
        trained.keyboard.press(key)
    assert trained.inner_text("#pen") == "Pen down, column 8 of 16, row 14 of 16"
    assert np.argmax(answer(trained)["probabilities"]) == 1
    trained.keyboard.press("Space")
    assert trained.inner_text("#pen").startswith("Pen up")
    trained.keyboard.press("Backspace")
    assert not any(answer(trained)["image"])
    trained.keyboard.press("Tab")
    assert trained.evaluate("document.activeElement.id") == "undo"


def test_pause_and_go_on(trained):
    at = trained.evaluate("messages.findLast((message) => message.answer?.step ?? message.step)")
    step = at.get("step") or at["answer"]["step"]
    trained.wait_for_timeout(500)
    again = trained.evaluate("messages.findLast((message) => message.type === 'report').step")
    assert again == step
    rows = trained.locator("#epochs tr").count()
    trained.select_option("#rate", "0.001")
    trained.click("#pause:text('Go on')")
    wait_until(trained, f"document.querySelectorAll('#epochs tr').length > {rows}")
    pause(trained)
    assert trained.evaluate("messages.findLast((message) => message.type === 'report').step") > step
    assert percentage(trained, "#accuracy") > 95


def test_the_files_have_the_predictions_of_the_page(trained, tmp_path):
    answers = [draw(trained, strokes.DIGITS[digit]) for digit in "258"]
    images = np.reshape([answer["image"] for answer in answers], (-1, 8, 8))
    expected = [answer["probabilities"] for answer in answers]
    loaded = predictor.load(download(trained, "safetensors", tmp_path))
    assert loaded.classes == [str(digit) for digit in range(10)]
    assert len(loaded.history) == trained.locator("#epochs tr").count()
    np.testing.assert_allclose(loaded.predict_proba(images), expected, atol=1e-6)
    file = download(trained, "onnx", tmp_path)
    np.testing.assert_allclose(onnx_probabilities(file, images), expected, atol=1e-6)
    properties = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(properties["classes"]) == loaded.classes


CONVNET = {"#channels": "4", "#kernel": "5", "#hidden": "16"}
LINEAR = {"#channels": "", "#hidden": ""}


@pytest.mark.parametrize(("network", "kernels"), [(CONVNET, "4 kernels of 5 by 5"), (LINEAR, "10 kernels of 8 by 8")])
def test_other_layers(trained, network, kernels, tmp_path):
    for control, value in network.items():
        trained.select_option(control, value)
    trained.select_option("#rate", "0.01")
    trained.click("#start")
    train_to(trained, 80)
    pause(trained)
    answer = draw(trained, strokes.DIGITS["0"])
    assert trained.get_attribute("#kernels", "aria-label").startswith(kernels)
    loaded = predictor.load(download(trained, "safetensors", tmp_path))
    image = np.reshape(answer["image"], (1, 8, 8))
    np.testing.assert_allclose(loaded.predict_proba(image)[0], answer["probabilities"], atol=1e-6)
    np.testing.assert_allclose(
        onnx_probabilities(download(trained, "onnx", tmp_path), image)[0], answer["probabilities"], atol=1e-6
    )


def test_a_training_that_starts_again_forgets_the_one_before(trained):
    trained.select_option("#channels", "4")
    trained.select_option("#rate", "0.01")
    trained.click("#start")
    train_to(trained, 80)
    draw(trained, strokes.DIGITS["1"])
    trained.click("#start")  # while it goes on
    wait_until(trained, "document.querySelector('#epochs tr:last-child td').textContent === '1'")
    wait_until(trained, "document.getElementById('verdict').textContent.startsWith('It is most like')")
    pause(trained)
    first = trained.evaluate(
        "messages.slice(messages.findLastIndex(({ answer }) => answer?.loss === null))"
        ".find(({ type }) => type === 'report').loss.toPrecision(2)"
    )
    assert trained.get_attribute("#loss-chart", "aria-label").startswith(f"Loss: from {first} to ")
    assert trained.locator("#epochs tr").count() == int(trained.inner_text("#epoch"))


def test_a_training_that_diverges_says_what_to_do(trained):
    trained.evaluate("document.querySelector('#rate option').textContent = '1e30'")
    trained.select_option("#rate", "1e30")
    trained.click("#start")
    trained.wait_for_selector("#status:text('training diverged')")
    assert re.fullmatch(
        "The training stopped: training diverged: the loss is (nan|inf) in epoch 1, step 1 with learning rate 1e[+]30; "
        "try a lower learning rate",
        trained.inner_text("#status"),
    )
    trained.evaluate("document.querySelector('#rate option').textContent = '0.0003'")
    trained.select_option("#rate", "0.01")
    trained.click("#start")
    train_to(trained, 50)
    pause(trained)


def test_forced_colours_leave_the_pictures(trained):
    draw(trained, strokes.DIGITS["1"])
    trained.emulate_media(forced_colors="active")
    bar, ground = (
        trained.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor")
        for selector in ("#bars .best .bar span", "#bars .best .bar")
    )
    trained.emulate_media(forced_colors="none")
    assert bar != ground


def test_classes_of_ones_own(page, tmp_path):
    page.select_option("#channels", "16")
    page.select_option("#hidden", "16")
    page.select_option("#source", "own")
    page.click("#start")
    page.wait_for_selector("#status:text('at least two of them')")
    shapes = {"circle": strokes.circle, "cross": strokes.cross, "dash": strokes.dash}
    for k, (name, shape) in enumerate(shapes.items()):
        page.click("#new-class")
        page.fill(f"#class-{k}", name)
        page.keyboard.press("Enter")
        for i in range(5):
            draw(page, shape(i))
            page.click(f"#add-{k}")
            page.wait_for_selector(f"#classes li:nth-child({k + 1}) .drawings button:nth-child({i + 1})")
    page.click("#new-class")
    page.fill("#class-3", 40 * "w")
    page.keyboard.press("Enter")
    size = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size(size)
    page.click(f"text='Delete {40 * 'w'}'")
    page.click("[aria-label='Delete drawing 5 of dash']")
    counts = [re.search(r"\d+ drawings?", line)[0] for line in page.locator("#classes li").all_inner_texts()]
    assert counts == ["5 drawings", "5 drawings", "4 drawings"]

    page.click("#start")
    wait_until(page, "document.getElementById('accuracy-of').textContent === 'Accuracy on the same drawings'")
    train_to(page, 100)
    pause(page)
    found = {name: draw(page, shape(5)) for name, shape in shapes.items()}
    assert {name: answer["classes"][np.argmax(answer["probabilities"])] for name, answer in found.items()} == {
        name: name for name in shapes
    }
    loaded = predictor.load(download(page, "safetensors", tmp_path))
    assert loaded.classes == list(shapes)
    images = np.reshape([answer["image"] for answer in found.values()], (-1, 8, 8))
    expected = [answer["probabilities"] for answer in found.values()]
    np.testing.assert_allclose(loaded.predict_proba(images), expected, atol=1e-6)
    assert loaded.predict(images).tolist() == list(shapes)


def test_two_classes_have_one_output(page, tmp_path):
    page.click("text='Delete dash'")
    page.click("#start")
    wait_until(page, "document.getElementById('accuracy-of').textContent.includes('held-out drawings')")
    train_to(page, 100)
    pause(page)
    answer = draw(page, strokes.cross(5))
    image = np.reshape(answer["image"], (1, 8, 8))
    loaded = predictor.load(download(page, "safetensors", tmp_path))
    np.testing.assert_allclose(loaded.predict_proba(image)[0], answer["probabilities"], atol=1e-6)
    y = onnx_probabilities(download(page, "onnx", tmp_path), image)
    np.testing.assert_allclose(y[0], answer["probabilities"][1:], atol=1e-6)


CONTRASTS = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb(colour).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled")) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const [low, high] = [luminance(colour), luminance(ground(element))].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), text]);
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_overflows_and_all_text_has_contrast(page, scheme, width):
    size = page.viewport_size
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.click("#pause:text('Go on')")
    pause(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        "(width) => [...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() &&"
        "!e.closest('pre, .scroll') && e.getBoundingClientRect().right > width).map((e) => e.id || e.tagName)",
        width,
    )
    assert outside == []
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 60
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
    page.set_viewport_size(size)


def test_everything_has_a_name_and_can_be_reached_by_keyboard(page):
    snapshot = page.locator("body").aria_snapshot()
    roles = "button|combobox|textbox|img|link|application"
    controls = re.findall(rf"^\s*- ({roles})(.*)$", snapshot, re.MULTILINE)
    assert len(controls) > 25
    assert [control for control in controls if not control[1].lstrip().startswith('"')] == []
    page.evaluate("document.activeElement.blur()")
    page.evaluate("scrollTo(0, 0)")
    reached, focusable = set(), "a[href], button:enabled, select, input, summary, [tabindex='0']"
    total = page.evaluate(f"[...document.querySelectorAll({focusable!r})].filter((e) => e.checkVisibility()).length")
    for _ in range(total + 1):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # between the last and the first, the browser's own controls
        reached.add(page.evaluate(f"[...document.querySelectorAll({focusable!r})].indexOf(document.activeElement)"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert len(reached) == total


def test_drawings_are_there_after_a_reload(page):
    page.reload()
    page.wait_for_selector("html[data-ready]", timeout=180_000)
    assert [page.input_value(f"#class-{k}") for k in (0, 1)] == ["circle", "cross"]
    assert page.locator("#classes .drawings button").count() == 10


def test_nothing_left_the_browser_and_nothing_failed(page, address, requests, errors):
    hosts = {urlsplit(url).netloc for url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert errors == []


@pytest.fixture
def fresh(browser):
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_without_a_copy_beside_it_pyodide_comes_from_the_cdn(fresh, address_with_cdn):
    fresh.goto(address_with_cdn)
    fresh.wait_for_selector("html[data-ready], #failure:visible", timeout=180_000)
    assert fresh.inner_text("#failure") == "" and "Pyodide 0.27.7" in fresh.inner_text("#versions")


def test_a_drawing_of_while_it_loads_is_read_afterwards_and_added_once(fresh, address):
    fresh.goto(address)
    fresh.click("#new-class")
    draw_strokes(fresh, strokes.circle(0))
    fresh.click("#add-0")
    fresh.wait_for_selector("#own-status:text('could not be added: Python is still loading.')")
    fresh.wait_for_selector("#seen[aria-label^='Your drawing']", timeout=180_000)
    fresh.evaluate("for (let i = 0; i < 2; i++) document.getElementById('add-0').click()")
    fresh.wait_for_selector("#own-status:text('class 1 has 1 drawing.')")
    assert fresh.locator("#classes .drawings button").count() == 1


def test_two_tabs_keep_the_classes_of_both(fresh, address_without_pyodide):
    other = fresh.context.new_page()
    for tab in (fresh, other):
        tab.goto(address_without_pyodide)
    fresh.click("#new-class")
    other.wait_for_selector("#class-0")
    other.click("#new-class")
    other.fill("#class-1", "<b>of the other</b>")
    other.keyboard.press("Enter")
    fresh.wait_for_selector("#classes li:nth-child(2)")
    fresh.click("#new-class")
    fresh.reload()
    names = [fresh.input_value(f"#class-{k}") for k in range(3)]
    assert names == ["class 1", "<b>of the other</b>", "class 3"]


@pytest.mark.parametrize("kept", ["null", "{", "5", "[1]", '[{"name": "a"}]', '[{"name": "a", "images": [[1]]}]'])
def test_a_storage_that_holds_something_else_is_no_class(fresh, address_without_pyodide, kept):
    fresh.goto(address_without_pyodide)
    fresh.evaluate("(kept) => localStorage.setItem('funcnn-classes', kept)", kept)
    fresh.reload()
    fresh.click("#new-class")
    assert fresh.locator("#classes li").count() == 1


def test_it_links_to_the_site_that_it_is_in(built, tmp_path):
    from builder import playground

    (tmp_path / "index.html").touch()
    playground.build(tmp_path / "playground")
    assert playground.LINK in (tmp_path / "playground" / "index.html").read_text("utf-8")
    assert "../" not in (built / "index.html").read_text("utf-8")


# --- what it says when it cannot load ---------------------------------------------------------------------------------


def failure(page, address):
    page.goto(address)
    page.wait_for_selector("#failure:visible", timeout=120_000)
    assert page.locator("#loading").is_hidden()
    return page.inner_text("#failure")


def test_without_webassembly(fresh, address):
    fresh.add_init_script("delete globalThis.WebAssembly")
    assert failure(fresh, address).startswith("This browser has no WebAssembly")


def test_without_a_network(fresh, address_without_pyodide):
    said = failure(fresh, address_without_pyodide)
    assert said.startswith("Pyodide, which is Python for browsers, could not be loaded from https://cdn.jsdelivr.net/")
    assert "there is no network" in said


def test_without_the_wheel(fresh, address):
    fresh.context.route("**/funcnn-*.whl", lambda route: route.fulfill(status=404))
    assert failure(fresh, address).startswith("The wheel of funcnn is not beside this page.")


def test_without_the_worker(fresh, address):
    fresh.context.route("**/worker.js", lambda route: route.fulfill(status=404))
    assert failure(fresh, address).startswith("The worker of this page could not run")


def test_opened_as_a_file(fresh, built):
    # A browser refuses modules of a file's page, so the page itself has to say it.
    fresh.goto((built / "index.html").as_uri())
    assert "opened as a file" in fresh.inner_text("#loading")
