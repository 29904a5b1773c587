"""The documentation says what the code and the configuration of the cluster say."""

import argparse
import dataclasses
import re

import pytest
import yaml

from tests.docs.blocks import PAGES, ROOT
from trainer import config
from trainer.config import Config, FeatureConfig
from trainer.config_reference import markdown
from trainer.field_texts import field_texts

PAGE = ROOT / "docs" / "configuration.md"
SECTIONS = [*(type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)), FeatureConfig]


def test_the_page_is_made_from_the_code_as_it_is():
    assert PAGE.read_text() == markdown(), "the page has drifted: run `make reference`"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_has_a_text_and_every_text_a_field(section):
    assert list(field_texts(section)) == [field.name for field in dataclasses.fields(section)]


def test_a_text_is_the_whole_text():
    page = re.sub(r"\s+", " ", PAGE.read_text())
    assert "| `checkpoint_every` | whole number | `1` | epochs between checkpoints a killed run resumes from. |" in page
    assert "placed anew on a random token of the batch; 0 turns revival off. |" in page


def test_help_has_the_text_of_each_field():
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    page = re.sub(r"\s+", " ", parser.format_help())
    for text in ("of Adam, reached after warmup_steps. (default: 0.003)", "last 10% test"):
        assert text in page


def test_the_operations_guide_has_every_alert():
    rules = yaml.safe_load((ROOT / "k8s" / "monitoring" / "rules.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = [
        f"| `{rule['alert']}` ({rule['labels']['severity']}) | {rule['annotations']['action']} |" for rule in alerts
    ]
    assert alerts
    assert re.findall(r"^\| `Sparcode.*", page, re.MULTILINE) == rows


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """To files that are there, and to headings of Markdown files."""
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
