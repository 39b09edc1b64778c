"""Random chains with branches give what a plain interpreter of their trees gives, in one go and in two stages."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from echotrain.gadgets import Gadget
from echotrain.mrd import Acquisitions, Array, Header, Image, Waveforms
from echotrain.mrd.errors import ConfigError
from echotrain.server.chain import Chain

KINDS = (Acquisitions, Waveforms, Image, Array)
MANNERS = ("each", "twice", "every other", "hold")


def item(kind, trace, branch=None):
    """An item that holds the way it came: the number of each gadget, and how many items that one had seen by then."""
    data = np.array(trace, np.float32).reshape(1, 1, 1, -1)
    if kind is Image:
        return Image(data, meta={"Branch": branch} if branch else {})
    return Array(data) if kind is Array else kind(None, data)


def trace(item):
    return [int(value) for value in item.data.flat]


def branch_of(item):
    return item.meta.get("Branch") if isinstance(item, Image) else None


@dataclass
class Plan:
    """A gadget of a random chain."""

    number: int
    takes: type
    gives: type
    manner: str

    def make(self):
        return type("Toy", (Toy,), {"accepts": (self.takes,), "yields": (self.gives,)})(self)


class Toy(Gadget):
    def __init__(self, plan):
        self.plan = plan
        self.seen = 0
        self.held = []

    def process(self, taken, /):
        self.seen += 1
        made = item(self.plan.gives, [*trace(taken), self.plan.number, self.seen], branch_of(taken))
        if self.plan.manner == "hold":
            self.held.append(made)
            return []
        return [made] * {"each": 1, "twice": 2, "every other": self.seen % 2}[self.plan.manner]

    def finish(self):
        return self.held


@dataclass
class Drawn:
    """Draws the parts of a chain, each of which takes a type that may reach it."""

    draw: object
    count: int = field(default=0)

    def next(self):
        self.count += 1
        return self.count

    def parts(self, flowing, depth, smallest):
        parts = []
        for _ in range(self.draw(st.integers(smallest, 3))):
            if depth and self.draw(st.booleans()):
                n_branches = self.draw(st.integers(2, 3))
                drawn = {f"branch {self.next()}": self.parts(flowing, depth - 1, 0) for _ in range(n_branches)}
                parts.append({name: branch for name, (branch, _) in drawn.items()})
                flowing = flowing.union(*(given for _, given in drawn.values()))
            else:
                takes = self.draw(st.sampled_from([kind for kind in KINDS if kind in flowing]))
                gives = self.draw(st.sampled_from(KINDS))
                parts.append(Plan(self.next(), takes, gives, self.draw(st.sampled_from(MANNERS))))
                flowing = (flowing - {takes}) | {gives}
        return parts, flowing


@st.composite
def plans(draw):
    return Drawn(draw).parts({Acquisitions, Waveforms}, 2, 1)[0]


def made(parts):
    """The same tree with gadgets in the place of plans."""
    return [
        {name: made(branch) for name, branch in part.items()} if isinstance(part, dict) else part.make()
        for part in parts
    ]


class Interpreter:
    """What a chain gives by the words of its contract: lists, made one part after the other."""

    def __init__(self, parts):
        self.parts = parts
        self.lines = set()
        self.find_lines(parts, True)

    def find_lines(self, parts, only_lines_before):
        for part in parts:
            if isinstance(part, dict):
                after = [self.find_lines(branch, only_lines_before) for branch in part.values()]
                only_lines_before = all(after)
            else:
                only_lines_before = only_lines_before and part.accepts[0] in (Acquisitions, Waveforms)
                if only_lines_before:
                    self.lines.add(part)
        return only_lines_before

    def run(self, items):
        given = [out for taken in items for out in self.through(self.parts, taken)]
        return given + self.finish(self.parts, on_lines=True) + self.finish(self.parts, on_lines=False)

    def through(self, parts, taken):
        if not parts:
            return [taken]
        return [out for given in self.through_part(parts[0], taken) for out in self.through(parts[1:], given)]

    def through_part(self, part, taken):
        if not isinstance(part, dict):
            return part.process(taken) if isinstance(taken, part.accepts) else [taken]
        wanting = [name for name, branch in part.items() if type(taken) in kinds_in(branch)]
        bare = [name for name, branch in part.items() if not kinds_in(branch)]
        chosen = [name for name in part if name in wanting + bare] if wanting else bare[:1]
        if not chosen:
            return [taken]
        return [out for name in chosen for out in named(name, part[name], self.through(part[name], taken))]

    def finish(self, parts, on_lines):
        given = []
        for number, part in enumerate(parts):
            if isinstance(part, dict):
                held = [out for n, branch in part.items() for out in named(n, branch, self.finish(branch, on_lines))]
            else:
                held = part.finish() if (part in self.lines) == on_lines else []
            given += [out for kept in held for out in self.through(parts[number + 1 :], kept)]
        return given


def kinds_in(parts):
    return {kind for gadget in flat(parts) for kind in gadget.accepts}


def flat(parts):
    """The gadgets of a tree."""
    for part in parts:
        if isinstance(part, dict):
            for branch in part.values():
                yield from flat(branch)
        else:
            yield part


def names_in(parts):
    return {inner for part in parts if isinstance(part, dict) for n, b in part.items() for inner in {n} | names_in(b)}


def named(name, branch, items):
    inner = names_in(branch)
    return [
        item(Image, trace(out), name) if isinstance(out, Image) and branch_of(out) not in inner else out
        for out in items
    ]


def built(parts):
    """A chain of random parts; those in which nothing reaches some gadget are not asked about."""
    try:
        return Chain("random", made(parts))
    except ConfigError:
        assume(False)


def told(items):
    return [(type(out).__name__, trace(out), branch_of(out)) for out in items]


ITEMS = st.lists(st.sampled_from([Acquisitions, Waveforms, Array]), max_size=6).map(
    lambda kinds: [item(kind, [-number]) for number, kind in enumerate(kinds, 1)]
)


@settings(max_examples=300)
@given(plans(), ITEMS)
def test_a_chain_gives_what_its_words_say(parts, items):
    chain = built(parts)
    assert told(chain.run(Header(xml=b""), items)) == told(Interpreter(made(parts)).run(items))


@settings(max_examples=300)
@given(plans(), ITEMS)
def test_a_chain_whose_second_stage_waits_for_the_first_gives_the_same(parts, items):
    chain, staged = built(parts), built(parts)
    between = [onward for taken in items for onward in staged.process(taken, stage=0)]
    between += staged.finish(0)
    given = [out for onward in between for out, _ in staged.process(*onward)]
    given += [out for out, _ in staged.finish(1)]
    assert told(given) == told(chain.run(Header(xml=b""), items))


@given(plans())
def test_the_first_stage_is_all_gadgets_on_lines_behind_only_such(parts):
    tree = made(parts)
    lines = Interpreter(tree).lines
    assert built(parts).stages == [int(gadget not in lines) for gadget in flat(tree)]
