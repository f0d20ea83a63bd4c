"""Checks every drawing of jit-slack with Slack's own Python library, and with the limits that it
leaves out. Reads the kept drawings; prints how many there were."""

import json
import pathlib
import sys

from slack_sdk.models.blocks import Block
from slack_sdk.models.blocks.block_elements import BlockElement
from slack_sdk.models.blocks.basic_components import Option
from slack_sdk.models.views import View

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "crates/jit-slack/src/surface/snapshots"

# Limits in characters that the library does not check, by where they are.
TEXT_LIMITS = {"header": 150, "section": 3000, "context": 3000, "option": 75, "button": 75}


def drawings():
    (snapshot,) = KEPT.glob("*every_surface_is_drawn_as_before.snap")
    _, _, body = snapshot.read_text(encoding="utf-8").split("---\n", 2)
    return json.loads(body)


def walk(value, path=""):
    """Every object with its place."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from walk(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from walk(inner, f"{path}/{place}")


def our_limits(name, drawing, most_blocks):
    blocks = drawing["blocks"]
    assert 1 <= len(blocks) <= most_blocks, f"{name}: {len(blocks)} blocks"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(ids) == len(set(ids)), f"{name}: a block id is used twice"
    for block in blocks:
        actions = [e["action_id"] for e in block.get("elements", []) if "action_id" in e]
        assert len(actions) == len(set(actions)), f"{name}: an action id is used twice"
        assert len(block.get("elements", [])) <= 25, name
        assert len(block.get("fields", [])) <= 10, name
        if block["type"] == "input":
            assert "submit" in drawing, f"{name}: an input and nothing to send it with"
    for path, value in walk(drawing):
        kind = value.get("type")
        if kind in ("plain_text", "mrkdwn", "text"):
            assert value["text"] != "", f"{name}{path}: empty"
        if kind == "text":
            continue
        if kind == "button":
            assert len(value["text"]["text"]) <= 75, f"{name}{path}"
            assert len(value.get("value", "")) <= 2000, f"{name}{path}"
            assert len(value.get("accessibility_label", "")) <= 75, f"{name}{path}"
        if kind == "mrkdwn":
            limit = 2000 if "/fields/" in path else 3000
            assert len(value["text"]) <= limit, f"{name}{path}: {len(value['text'])}"
        if "options" in value:
            assert 1 <= len(value["options"]) <= 100, f"{name}{path}"
            values = [option["value"] for option in value["options"]]
            assert len(values) == len(set(values)), f"{name}{path}: a value stands twice"
            for option in value["options"]:
                option_limits(f"{name}{path}", option)
        if "initial_option" in value:
            option_limits(f"{name}{path}", value["initial_option"])
            if "options" in value:
                assert value["initial_option"] in value["options"], f"{name}{path}: not offered"
    assert len(drawing.get("private_metadata", "")) <= 3000, name
    assert len(json.dumps(drawing)) <= 250_000, name


def option_limits(name, option):
    assert 1 <= len(option["text"]["text"]) <= 75, f"{name}: {option}"
    assert 1 <= len(option["value"]) <= 75, f"{name}: {option}"
    assert len(option.get("description", {"text": ""})["text"]) <= 75, f"{name}: {option}"


def parsed(name, blocks):
    for given, block in zip(blocks, Block.parse_all(blocks), strict=True):
        assert block is not None, f"{name}: unknown block {given['type']}"
        # Deep: validates what is inside as well.
        block.to_dict()
        for element in given.get("elements", []):
            if given["type"] == "actions":
                assert BlockElement.parse(element) is not None, f"{name}: {element}"


def main():
    kept = drawings()
    for name, message in kept["messages"].items():
        assert 1 <= len(message["text"]) <= 4000, f"{name}: text of {len(message['text'])}"
        parsed(name, message["blocks"])
        our_limits(name, message, 50)
    for kind in ("modals", "homes"):
        for name, view in kept[kind].items():
            parsed(name, view["blocks"])
            View(**view).to_dict()
            our_limits(name, view, 100)
            assert len(view.get("title", {"text": ""})["text"]) <= 24, name
    for name, answer in kept["options"].items():
        assert len(answer["options"]) <= 100, name
        for option in answer["options"]:
            option_limits(name, option)
            Option.parse_all([option])
    count = sum(len(drawn) for drawn in kept.values())
    print(f"slack_sdk {__import__('slack_sdk').version.__version__}: {count} drawings are valid")


if __name__ == "__main__":
    sys.exit(main())
