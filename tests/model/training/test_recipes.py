from typing import get_args

import pytest

from mien.model.training.config import TrainingConfig
from mien.model.training.recipes import FROM_WEIGHTS, RECIPES, RecipeName


@pytest.mark.parametrize("name", get_args(RecipeName))
def test_every_recipe_is_a_configuration(name: RecipeName) -> None:
    assert TrainingConfig.model_validate(RECIPES[name].model_dump()) == RECIPES[name]


def test_recipes_that_start_from_a_face_network_have_its_backbone() -> None:
    for name, recipe in RECIPES.items():
        assert (recipe.network.backbone == "mobilenet") == (name in FROM_WEIGHTS)


def test_second_part_goes_on_with_the_network_of_the_first() -> None:
    assert RECIPES["structure"].network == RECIPES["faces"].network
