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


def test_sections_stand_in_the_order_of_a_recipe() -> None:
    assert list(recipe_schema()["properties"]) == [
        "extends",
        "data",
        "model",
        "exits",
        "distillation",
        "optimization",
        "training",
    ]
