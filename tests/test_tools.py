"""What made the data: the parts that need none of the packages they were made from."""

from tools import stories

GOOD = (
    "Once there was a frog named Lily. She lived by the river, and every morning she "
    "washed her green feet. One day she found a bell in the reeds. 'Who has lost it?' "
    "she asked the sailor. The sailor looked at the bell and laughed. It was his own! "
    "He thanked her, and they rang it together until the moon came up. Then they went"
)
ENTRY = {"name": "Lily", "being": "frog", "story": GOOD}


class TestStories:
    def test_a_batch_has_the_same_prompts_everywhere(self):
        first = stories.prompts(7, 3)
        assert first == stories.prompts(7, 3)
        assert first != stories.prompts(8, 3)
        assert all(each["name"] in each["prompt"] for each in first)

    def test_ends_with_its_last_whole_sentence(self):
        assert stories.tidy(ENTRY).endswith("until the moon came up.")

    def test_what_is_left_out(self):
        wrong = {
            "too short": GOOD[:200],
            "about somebody else": GOOD.replace("Lily", "Tom"),
            "in circles": GOOD + " The frog had a bell." * 3,
            "marks of a list": GOOD + " * And so on.",
        }
        for why, story in wrong.items():
            assert stories.tidy(ENTRY | {"story": story}) is None, why

    def test_curly_quotes_become_plain(self):
        story = GOOD.replace("'Who has lost it?'", "“Who has lost it?”")
        assert '"Who has lost it?"' in stories.tidy(ENTRY | {"story": story})
