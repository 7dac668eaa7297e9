"""The classifier that needs no model: it reads common English prompts by rules, and says so when it cannot.

It never guesses silently: what it read into a prompt stands in the explanation.
"""

import re
from collections.abc import Iterable

import msgspec

from adapters.cel_condition import CelConditionLanguage
from adapters.rules_changes import CHANGES
from adapters.rules_clauses import Clause, Reading
from adapters.rules_facts import FactFinder, NoSuchFact, is_page
from adapters.rules_states import STATES
from adapters.rules_wish import Wish, read_wish, schedule_in_words
from domain.classification import ClassifyRequest, Draft
from domain.condition import fires_by_default
from domain.errors import ConditionInvalid, InvalidInput, PromptNotUnderstood
from domain.fact import FactSpec
from domain.plan import Fires

NAME_CHARS = 60
CLAUSES_MAX = 3
NOT_UNDERSTOOD = (
    "this prompt is not one that the built-in rules can read. They read sentences like: tell me when the price drops below"
    ' 200 EUR; tell me when the page contains "in stock"; tell me when temp max is above 30 or wind exceeds 12; tell me when'
    " the price drops by 10 % in a week; tell me when there is a new post. Or give facts and a condition yourself, for"
    ' example facts [{"name": "price", "type": "number", "select": {"css": ".price"}}] and condition "price < 50".'
)


class _Understood(msgspec.Struct, frozen=True):
    """A whole wish: its facts, condition, the same in words, and notes."""

    facts: tuple[FactSpec, ...]
    condition: str
    words: str
    fires: Fires | None = None
    notes: tuple[str, ...] = ()


class RulesProvider:
    """Compiles prompts by rules. `conditions` checks what it makes, and what a person gave."""

    name = "rules"

    def __init__(self, conditions: CelConditionLanguage | None = None) -> None:
        self._conditions = conditions or CelConditionLanguage()

    async def classify(self, request: ClassifyRequest) -> Draft:
        """As `draft`; asynchronous because other classifiers ask a server."""
        return self.draft(request)

    def draft(self, request: ClassifyRequest) -> Draft:
        """The draft of a plan for `request`; what the person gave stays as it is, the rest is read from the prompt.

        Raises `PromptNotUnderstood` (field "prompt") with what can be understood, `InvalidInput` naming "facts" or
        "condition" when only one of them was given and the prompt does not tell the other, `ConditionInvalid`.
        """
        wish = read_wish(request.prompt)
        understood = self._understand(request, wish)
        calls = self._conditions.check(understood.condition, understood.facts)
        fires = understood.fires or fires_by_default(calls)
        schedule = request.schedule or wish.schedule or request.schedule_default
        sentences = [f"Watches {'; '.join(map(_fact_in_words, understood.facts))}."]
        sentences += [_firing_in_words(understood.words, fires, looks_back=bool(calls)), *understood.notes]
        sentences += [f"Looks {schedule_in_words(schedule)}."] if schedule else []
        return Draft(
            facts=understood.facts,
            condition=understood.condition,
            explanation=" ".join(sentences),
            schedule=schedule,
            name=_name(wish),
            fires=understood.fires,
        )

    def _understand(self, request: ClassifyRequest, wish: Wish) -> _Understood:
        facts, condition = request.facts, request.condition
        if facts is not None and condition is not None:
            return _Understood(facts, condition, f"{condition} is true")
        if facts is not None:
            return _condition_for(request, wish, facts)
        return _read(request, wish) if condition is None else self._facts_for(request, wish, condition)

    def _facts_for(self, request: ClassifyRequest, wish: Wish, condition: str) -> _Understood:
        """The facts the prompt speaks of, if the given condition compiles against them."""
        try:
            facts = _read(request, wish).facts
        except PromptNotUnderstood:
            message = (
                "the condition is given, and the prompt does not tell its facts: give them too, for example"
                ' [{"name": "price", "type": "number", "select": {"css": ".price"}}]'
            )
            raise InvalidInput(message, field="facts") from None
        try:
            self._conditions.check(condition, facts)
        except ConditionInvalid as mistake:
            message = f"{mistake.message}\nThe facts were taken from the prompt; to name others, give facts too."
            raise ConditionInvalid(message, field="condition") from None
        return _Understood(facts, condition, f"{condition} is true")


def _condition_for(request: ClassifyRequest, wish: Wish, facts: tuple[FactSpec, ...]) -> _Understood:
    """The condition the prompt tells, over the given facts."""
    try:
        understood = _read(request, wish)
    except (PromptNotUnderstood, NoSuchFact) as error:
        why = f": {error.message}" if isinstance(error, NoSuchFact) else ""
        message = f"facts are given, and the prompt does not tell a condition over them{why}; give one, for example price < 50"
        raise InvalidInput(message, field="condition") from None
    return msgspec.structs.replace(understood, facts=facts)


def _read(request: ClassifyRequest, wish: Wish) -> _Understood:
    reading = Reading(FactFinder(request.sources, request.facts), wish)
    text, watched = wish.text, wish.watched
    remarks: tuple[str, ...] = ()
    if watched is not None and not is_page(watched):
        text = re.sub(r"^(?:it|this|that)\b", lambda _: watched, text)
        remarks = (f"Where to look is told by the sources, not by the words {watched}.",) if text == wish.text else ()
    found = _clauses(reading, text, CLAUSES_MAX)
    if found is None:
        raise PromptNotUnderstood(NOT_UNDERSTOOD, field="prompt")
    sign, clauses = found
    facts = _merged(clauses)
    if len(clauses) == 1:
        only = clauses[0]
        return _Understood(facts, only.condition, only.words, only.fires, (*only.notes, *remarks))
    condition = f" {sign} ".join(f"({c.condition})" if c.is_compound else c.condition for c in clauses)
    words = (" and " if sign == "&&" else ", or ").join(c.words for c in clauses)
    notes = tuple(dict.fromkeys(note for clause in clauses for note in clause.notes))
    return _Understood(facts, condition, words, _fires_together(sign, clauses), (*notes, *remarks))


def _clauses(reading: Reading, text: str, most: int, subject: str | None = None) -> tuple[str, list[Clause]] | None:
    """The clauses of `text` and the sign between them. A clause after "and" or "or" may leave out its subject; "and" and
    "or" in one sentence can be read in two ways, so they are not read."""
    single = _clause(reading, text, subject)
    if single is not None:
        return "&&", [single]
    if most == 1:
        return None
    for found in re.finditer(r",? (?:(?P<either>or)|and|but)(?: also)?(?: (?:when|if))? ", text, re.IGNORECASE):
        first = _clause(reading, text[: found.start()], subject)
        if first is None:
            continue
        sign = "||" if found["either"] else "&&"
        rest = _clauses(reading, text[found.end() :], most - 1, first.subject or subject)
        if rest is not None and (rest[0] == sign or len(rest[1]) == 1):
            return sign, [first, *rest[1]]
    return None


def _clause(reading: Reading, text: str, subject: str | None) -> Clause | None:
    """One clause, if need be with the subject of the one before it."""
    text = re.sub(
        r"^either |,? (?:on (?:the|this|that) (?:page|site|website|web page)|again|please|now)$", "", text.strip()
    )
    tries = (
        [text] if subject is None else [text, f"{subject} {text}", re.sub(r"^(?:it|they)\b", lambda _: subject, text)]
    )
    return next(
        (clause for attempt in tries if (clause := CHANGES.read(reading, attempt) or STATES.read(reading, attempt))),
        None,
    )


def _merged(clauses: Iterable[Clause]) -> tuple[FactSpec, ...]:
    """The facts of all clauses, each once; one fact cannot be of two types."""
    facts: dict[str, FactSpec] = {}
    for clause in clauses:
        known = facts.get(clause.fact.name, clause.fact)
        if known.type is not clause.fact.type or (known.unit or clause.fact.unit) != (clause.fact.unit or known.unit):
            kinds = " and as ".join(f"{fact.type} {fact.unit or ''}".strip() for fact in (known, clause.fact))
            raise PromptNotUnderstood(
                f"the prompt speaks of {known.name} as {kinds}; give the facts yourself", field="prompt"
            )
        facts[known.name] = known if known.unit or not clause.fact.unit else clause.fact
    return tuple(facts.values())


def _fires_together(sign: str, clauses: list[Clause]) -> Fires | None:
    """Something that happened and something that lasts, joined by "or", would fire at every look while it lasts."""
    each_time = [clause.fires is Fires.EACH_TIME for clause in clauses]
    if not any(each_time):
        return None
    return Fires.EACH_TIME if sign == "&&" or all(each_time) else Fires.ON_ENTRY


def _fact_in_words(fact: FactSpec) -> str:
    kind = {"number": "a number", "list": "a list of texts", "boolean": "true or false", "timestamp": "a time"}.get(
        fact.type, "a text"
    )
    unit = f" in {fact.unit}" if fact.unit else ""
    about = f", {fact.description}" if fact.description else ""
    chosen = {} if fact.select is None else msgspec.to_builtins(fact.select)
    where = ", ".join(f'{key} "{value}"' for key, value in chosen.items()).replace('named "', 'found by the name "')
    return f"{fact.name} ({kind}{unit}{about}{', ' if where else ''}{where})"


def _firing_in_words(words: str, fires: Fires, *, looks_back: bool) -> str:
    first = "; the first look only gives something to compare with" if looks_back else ""
    match fires:
        case Fires.EACH_TIME:
            return f"Fires each time {words}{first}."
        case Fires.ON_ENTRY:
            begins = "begins" if looks_back else "begins, or is so at the first look"
            return f"Fires when {words}: once when that {begins}, and again only after it has ended{first}."


def _name(wish: Wish) -> str:
    """The wish as a name: at most NAME_CHARS characters, cut between words."""
    text = "".join(char for char in wish.plain if char.isprintable()).strip() or "Monitor"
    if len(text) > NAME_CHARS:
        text = text[:NAME_CHARS].rsplit(" ", 1)[0] + "…"
    return text[:1].upper() + text[1:]
