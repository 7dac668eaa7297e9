"""Settings of AI providers: which there are, with which keys and models, and what they may cost."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

KNOWN_PROVIDERS = ("claude", "openai", "rules")
UNPREFIXED = ("anthropic_api_key", "anthropic_base_url", "openai_api_key", "openai_base_url")
"""Settings that have the names in the environment which the providers' own programs read."""

Names = Annotated[tuple[str, ...], NoDecode]
Prices = Annotated[dict[str, tuple[Decimal, Decimal]], NoDecode]


def _as_elsewhere(name: str) -> AliasChoices:
    return AliasChoices(name.upper(), name)


class AiSettings(BaseSettings):
    """What an operator decides about models."""

    anthropic_api_key: str | None = Field(
        None, description="Key for claude.", repr=False, validation_alias=_as_elsewhere("anthropic_api_key")
    )
    anthropic_base_url: str | None = Field(
        None,
        description="Where claude is asked. Unset: Anthropic's own address.",
        validation_alias=_as_elsewhere("anthropic_base_url"),
    )
    openai_api_key: str | None = Field(
        None,
        description="Key for openai. Not needed with OPENAI_BASE_URL.",
        repr=False,
        validation_alias=_as_elsewhere("openai_api_key"),
    )
    openai_base_url: str | None = Field(
        None,
        description="Where openai is asked: any server that speaks its language, such as Ollama or vLLM. Unset: OpenAI's own"
        " address.",
        validation_alias=_as_elsewhere("openai_base_url"),
    )
    ai_providers: Names = Field(
        ("rules",),
        description="Who reads prompts and pages, in order of preference: claude, openai, rules. Rules need no key, and read"
        " common prompts only.",
    )
    claude_model: str = Field("claude-haiku-5-5", min_length=1, description="Model that claude is asked for.")
    openai_model: str = Field("gpt-5.4-mini", min_length=1, description="Model that openai is asked for.")
    openai_wire: Literal["responses", "chat"] | None = Field(
        None,
        description="How openai is spoken to: `responses`, or `chat` (chat completions), which every compatible server knows."
        " Unset: chat with OPENAI_BASE_URL, else responses.",
    )
    ai_budget_day: Decimal | None = Field(
        None, ge=0, description="Most US dollars that models may cost in a day (UTC), of all people. Unset: no limit."
    )
    ai_budget_person_day: Decimal | None = Field(
        None, ge=0, description="Most US dollars that models may cost in a day (UTC) for one person. Unset: no limit."
    )
    ai_prices: Prices = Field(
        {},
        description="Prices of models that no list knows, such as your own, in US dollars for a million tokens of input and"
        " output: `llama3.3=0/0`, comma-separated. What is not known costs what the provider's dearest model does.",
    )

    @field_validator("ai_providers", mode="before")
    @classmethod
    def split_providers(cls, value: object) -> object:
        """Lists are written with commas in the environment."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("ai_providers")
    @classmethod
    def are_providers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Each is a provider this version has, named once, that has its key. That is not a check of the whole, which nobody
        makes while one setting is wrong by itself."""
        known = ", ".join(KNOWN_PROVIDERS)
        wrong = [
            f"{name!r} is not a provider of this version; known are: {known}"
            for name in value
            if name not in KNOWN_PROVIDERS
        ]
        if len(set(value)) < len(value) or not value:
            wrong.append("name one or more providers, each once")
        if "claude" in value and not _is_given("anthropic_api_key", info):
            wrong.append("claude needs ANTHROPIC_API_KEY")
        if "openai" in value and not (_is_given("openai_api_key", info) or _is_given("openai_base_url", info)):
            wrong.append("openai needs OPENAI_API_KEY, or OPENAI_BASE_URL of your own")
        if wrong:
            raise ValueError("; ".join(wrong))
        return value

    @field_validator("ai_prices", mode="before")
    @classmethod
    def read_prices(cls, value: object) -> object:
        """`model=input/output`, with commas between several."""
        if not isinstance(value, str):
            return value
        found: dict[str, tuple[Decimal, Decimal]] = {}
        for part in value.split(","):
            if part.strip():
                model, _, price = part.strip().rpartition("=")
                found[model] = _price(model, price)
        return found

    @field_validator("anthropic_base_url", "openai_base_url")
    @classmethod
    def are_addresses(cls, value: str | None) -> str | None:
        """Addresses of servers."""
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("the address of a server begins with http:// or https://")
        return value or None

    @property
    def models(self) -> dict[str, str]:
        """The models by the names of their providers, in order of preference."""
        known: dict[str, str] = {"claude": self.claude_model, "openai": self.openai_model}
        return {name: known[name] for name in self.ai_providers if name in known}


def _is_given(name: str, info: ValidationInfo) -> bool:
    """Whether a setting further up was given; one that is wrong is told as that."""
    return name not in info.data or bool(info.data[name])


def _price(model: str, price: str) -> tuple[Decimal, Decimal]:
    try:
        first, second = (Decimal(one) for one in price.split("/"))
    except (ValueError, InvalidOperation):
        raise ValueError("a price is written model=input/output, for example llama3.3=0.10/0.40") from None
    if not model or not (first.is_finite() and second.is_finite() and min(first, second) >= 0):
        raise ValueError("a price is written model=input/output, for example llama3.3=0.10/0.40")
    return first, second


def shown(name: str) -> str:
    """A setting's name in the environment, without its prefix where it has none."""
    return name.upper() if name in UNPREFIXED else f"VIGIL_{name.upper()}"
