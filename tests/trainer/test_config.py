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
        (
            {"quantizer": {"structure": "tree"}},
            r"quantizer.structure is 'tree'; choose one of 'residual', 'separate', 'product', 'none'",
        ),
        ({"training": {"epochs": "many"}}, r"training.epochs is 'many'; expected int"),
        ({"training": {"epochs": 0}}, r"training.epochs is 0; it must be at least 1"),
        ({"training": {"seed": -1}}, r"training.seed is -1; it must be in \[0"),
        ({"training": 3}, r"section 'training' holds 3"),
        ({"quantizer": {"structure": "product", "num_codebooks": 3}}, r"num_codebooks 3 .*does not divide.*dim 64"),
        ({"quantizer": {"num_codebooks": 2}}, r"structure 'residual' has one codebook"),
        ({"tokenizer": {"num_heads": 3}}, r"num_heads 3 does not divide tokenizer.dim 64"),
        ({"quantizer": {"num_vectors": 3}}, r"num_vectors 3 does not divide quantizer.num_query_tokens 4"),
        ({"quantizer": {"gradient": "commit_only", "commit_weight": 0}}, r"commit_weight must be > 0"),
        ({"quantizer": {"decay": 1.0}}, r"quantizer.decay is 1.0; it must be in \(0, 1\)"),
        ({"tokenizer": {"event_dropout": 1.0}}, r"tokenizer.event_dropout is 1.0; it must be in \[0, 1\)"),
        ({"scorer": {"kind": "none", "inner_product": False}}, r"kind is 'none': nothing would be scored"),
        ({"scorer": {"hidden": 0}}, r"scorer.hidden is 0; it must be at least 1"),
        ({"memory": {"num_events": -1}}, r"memory.num_events is -1; it must be >= 0"),
        ({"memory": {"l2": 0}}, r"memory.l2 is 0.0; it must be > 0"),
        ({"memory": {"list_length": 0}}, r"memory.list_length is 0; it must be at least 1"),
        ({"loss": {"in_batch_negatives": 0, "uniform_negatives": 0}}, r"all 0; set one"),
        ({"loss": {"kind": "softmax"}}, r"loss.kind is 'softmax'; choose one of 'sampled_softmax', 'full_softmax'"),
        ({"training": {"warm_start": 3}}, r"training.warm_start is 3; expected str"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(UserError, match=message):
        configuration.from_mapping(values, "my.yaml")


def test_negatives_are_not_needed_where_there_is_no_sampling():
    nothing = {"kind": "full_softmax", "in_batch_negatives": 0, "uniform_negatives": 0}
    assert configuration.from_mapping({"loss": nothing}, "here").loss.num_negatives == 0


def test_no_more_events_are_tokens_than_a_history_has():
    for num_events, expected in ((0, 0), (5, 5), (16, 7)):
        values = {"data": {"max_history": 7}, "memory": {"num_events": num_events}}
        assert configuration.from_mapping(values, "here").num_events == expected


@pytest.mark.parametrize(
    ("structure", "tokens", "vectors", "expected"),
    [
        ("residual", 4, 1, (4, 1, 4)),  # levels, vectors that the tokenizer gives, slots
        ("residual", 6, 2, (3, 2, 6)),
        ("separate", 4, 1, (1, 4, 4)),
        ("product", 4, 1, (1, 4, 1)),
        ("none", 4, 1, (1, 4, 4)),
    ],
)
def test_sizes_that_follow_from_the_structure(structure, tokens, vectors, expected):
    config = configuration.QuantizerConfig(structure, num_query_tokens=tokens, num_vectors=vectors)
    assert (config.num_levels, config.num_input_vectors, config.num_slots) == expected


def test_unknown_preset_names_the_choices():
    with pytest.raises(UserError, match=r"'defualt' is neither a preset \(default.*\) nor a .yaml file"):
        configuration.load("defualt")


def test_broken_yaml_names_the_file(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    with pytest.raises(UserError, match=r"broken.yaml: not valid YAML: line 1, column 5: expected the node content"):
        configuration.load(str(path))


def test_a_field_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("training: {epochs: 3}\ntokenizer: {dim: 8}\ntraining: {patience: 2}\n")
    with pytest.raises(UserError, match=r"twice.yaml: .*line 3, column 1: 'training' is there twice"):
        configuration.load(str(path))
