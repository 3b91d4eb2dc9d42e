from aljax.config import budget_of, labeled_after


def test_the_first_batch_has_a_size_of_its_own():
    config = {"budget": 10, "initial": {"budget": 3}}
    assert [budget_of(config, cycle) for cycle in (1, 2, 3)] == [3, 10, 10]
    assert [labeled_after(config, cycle) for cycle in (0, 1, 2, 3)] == [0, 3, 13, 23]


def test_without_one_all_batches_are_alike():
    for config in ({"budget": 10}, {"budget": 10, "initial": {"budget": 0}}):
        assert [budget_of(config, cycle) for cycle in (1, 2)] == [10, 10]
        assert labeled_after(config, 3) == 30
