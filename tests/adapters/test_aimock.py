"""Both providers against a stand-in that somebody else wrote after the real services: the npm package @copilotkit/aimock.

Our own server (tests/model_server.py) knows more faults, but it shares whatever we misunderstood of the wires.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.claude_provider import ClaudeProvider
from adapters.openai_provider import OpenAIProvider
from commands.asking import Inquiry, Reply
from domain.model_call import CallOutcome, Task, TokenUsage

KEY = "sk-made-up"
FOLDER = Path(__file__).parents[1] / "aimock"
PROGRAM = Path(sys.prefix) / "aimock/node_modules/@copilotkit/aimock/dist/cli.js"
KINDS = ["claude", "responses", "chat"]


@pytest.fixture(scope="module")
def aimock() -> Iterator[str]:
    """The URL of a server that knows the key and answers after tests/aimock/fixtures.json."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed here")
    if not PROGRAM.is_file():
        pytest.skip("@copilotkit/aimock is not installed here: make aimock")
    command = [node, str(PROGRAM), "--port", "0", "--strict", "--validate-on-load", "--fixtures", "fixtures.json"]
    with subprocess.Popen(
        command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"AIMOCK_API_KEYS": KEY}
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
                yield found[1]
                break
        else:
            pytest.fail(f"aimock did not start: {said}")
        process.kill()


async def ask(aimock: str, kind: str, content: str, key: str = KEY) -> Reply:
    schema = {
        "type": "object",
        "properties": {"price": {"type": "number"}},
        "required": ["price"],
        "additionalProperties": False,
    }
    inquiry = Inquiry(task=Task.EXTRACT, instructions="Read.", content=content, schema=schema, output_tokens_max=100)
    provider: ClaudeProvider | OpenAIProvider
    if kind == "claude":
        provider = ClaudeProvider(key, "claude-x", aimock)
    else:
        provider = OpenAIProvider(key, "gpt-x", f"{aimock}/v1", "chat" if kind == "chat" else "responses")
    try:
        return await provider.call(inquiry, seconds=20)
    finally:
        await provider.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_structured_answer_comes_with_its_model_and_usage(aimock: str, kind: str) -> None:
    assert await ask(aimock, kind, "What is the price?") == Reply(
        outcome=CallOutcome.OK,
        text='{"price": 12}',
        usage=TokenUsage(input_tokens=120, output_tokens=30),
        model="claude-x" if kind == "claude" else "gpt-x",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ("a long answer", CallOutcome.TRUNCATED),
        ("a busy server", CallOutcome.RATE_LIMITED),
        ("a broken server", CallOutcome.OVERLOADED),
        ("an unpaid bill", CallOutcome.AUTH),
        ("nothing that is known", CallOutcome.OVERLOADED),
    ],
)
async def test_an_error_is_the_outcome_that_it_is_with_our_own_server(
    aimock: str, kind: str, content: str, outcome: CallOutcome
) -> None:
    reply = await ask(aimock, kind, content)
    assert reply.outcome is outcome
    assert reply.message
    assert reply.retry_after_seconds == (1.0 if outcome is CallOutcome.RATE_LIMITED else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_key_is_not_accepted(aimock: str, kind: str) -> None:
    assert (await ask(aimock, kind, "What is the price?", "sk-another")).outcome is CallOutcome.AUTH
