import pytest

from protos.errors import UserError
from trainer import config as configuration


def test_default_preset_is_the_default_configuration():
    assert configuration.load("default") == configuration.Config()


def test_yaml_round_trip(tmp_path):
    config = configuration.from_mapping({"training": {"epochs": 3}, "quantizer": {"num_codewords": 7}}, "here")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert configuration.load(str(path)) == config


def test_flags_override_the_preset():
    config = configuration.parse(["--training.epochs", "3", "--loss.log_q", "false", "--tokenizer.dropout", "0"])
    assert (config.training.epochs, config.loss.log_q, config.tokenizer.dropout) == (3, False, 0.0)


@pytest.mark.parametrize("preset", configuration.preset_names())
def test_every_preset_loads(preset):
    configuration.load(preset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantiser": {}}, r"section 'quantiser' is unknown; did you mean 'quantizer'\?.*data, tokenizer"),
        ({"quantizer": {"codewords": 3}}, r"field of section 'quantizer' 'codewords' is unknown.*num_codewords"),
        ({"quantizer": {"structure": "tree"}}, r"quantizer.structure is 'tree'; choose one of 'residual', 'product'"),
        ({"training": {"epochs": "many"}}, r"training.epochs is 'many'; expected int"),
        ({"training": {"epochs": 0}}, r"training.epochs is 0; it must be at least 1"),
        ({"training": 3}, r"section 'training' holds 3"),
        ({"quantizer": {"structure": "product", "num_codebooks": 3}}, r"num_codebooks 3 .*does not divide.*dim 64"),
        ({"quantizer": {"num_codebooks": 2}}, r"structure 'residual' has one codebook"),
        ({"tokenizer": {"num_heads": 3}}, r"num_heads 3 does not divide tokenizer.dim 64"),
        ({"loss": {"in_batch_negatives": 0, "uniform_negatives": 0}}, r"both 0"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(UserError, match=message):
        configuration.from_mapping(values, "my.yaml")


def test_unknown_preset_names_the_choices():
    with pytest.raises(UserError, match=r"'defualt' is neither a preset \(default.*\) nor a .yaml file"):
        configuration.load("defualt")


def test_broken_yaml_names_the_file(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    with pytest.raises(UserError, match=r"broken.yaml: not valid YAML"):
        configuration.load(str(path))
