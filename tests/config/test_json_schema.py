from edgemate.config.json_schema import recipe_schema
from edgemate.registry import BACKBONES, METHODS


def test_the_schema_offers_every_registered_name_and_its_options() -> None:
    schema = recipe_schema()
    model, distillation = schema["$defs"]["Model"], schema["$defs"]["Distillation"]
    assert model["properties"]["backbone"]["anyOf"][0]["enum"] == BACKBONES.names()
    by_name = {rule["if"]["properties"]["method"]["const"]: rule["then"] for rule in distillation["allOf"]}
    assert sorted(by_name) == METHODS.names()
    assert by_name["mate"]["properties"]["options"]["properties"]["primary"]["maximum"] == 1
    assert by_name["mate"]["properties"]["options"]["additionalProperties"] is False


def test_sections_are_in_the_order_of_a_recipe() -> None:
    assert list(recipe_schema()["properties"]) == [
        "extends",
        "data",
        "model",
        "exits",
        "distillation",
        "optimization",
        "training",
    ]


def test_a_list_of_parts_offers_every_form_with_every_option() -> None:
    definitions = recipe_schema()["$defs"]
    listed, _ = definitions["Distillation"]["properties"]["methods"]["anyOf"]
    name, dotted, short, full = listed["items"]["anyOf"]
    assert name["enum"] == METHODS.names()
    assert dotted["pattern"] == ":"
    assert short["properties"]["mate"]["anyOf"][0]["properties"]["primary"]["maximum"] == 1
    assert (short["minProperties"], short["maxProperties"]) == (1, 1)
    assert full["allOf"][0] == {"$ref": "#/$defs/WeightedMethod"}
    assert "weight" in definitions["WeightedMethod"]["properties"]
    options = {rule["if"]["properties"]["name"]["const"]: rule["then"] for rule in full["allOf"][1]["allOf"]}
    assert options["eed"]["properties"]["options"]["additionalProperties"] is False
    assert "horizontal_flip" in definitions["Data"]["properties"]["augmentation"]["items"]["anyOf"][0]["enum"]


def test_a_second_domain_may_be_of_any_dataset_or_of_the_same() -> None:
    unlabeled = recipe_schema()["$defs"]["Unlabeled"]
    enum, _, absent = unlabeled["properties"]["name"]["anyOf"]
    assert "image_folder" in enum["enum"]
    assert absent == {"type": "null"}
    assert "arrays" in {rule["if"]["properties"]["name"]["const"] for rule in unlabeled["allOf"]}
