"""The link between items of news that tell one story: which item told it first (`fields.story` names it).

The story is ours and not the publisher's, so it takes no part in telling whether an item has changed.
"""

import msgspec

from tapehouse.market.context import Observation, Value, canonical
from tapehouse.market.stories import Stories, name_of

STORY = "story"
_FIELDS = msgspec.json.Decoder(dict[str, Value])


class StoryLinks:
    """The stories of the newest items; one a process, used from the engine's thread."""

    def __init__(self) -> None:
        self._stories = Stories()

    def recall(self, source: str, key: str, fields: str, observed_at: int) -> str:
        """Remember a stored item; return its fields as they were told, without the story.

        A story is named as its rows name it, by a key alone where they were written before it had the source with it.
        """
        told = _FIELDS.decode(fields)
        story = str(told.pop(STORY, name_of((source, key))))
        self._stories.remember((source, key), story, str(told.get("title")), str(told.get("link")), observed_at)
        return canonical(told)

    def link(self, observation: Observation) -> Observation:
        """Return a new item, or a new version of one, with its story."""
        fields = observation.fields
        item = observation.source, observation.key
        story = self._stories.story_of(item, str(fields["title"]), str(fields["link"]), observation.observed_at)
        return msgspec.structs.replace(observation, fields={**fields, STORY: story})
