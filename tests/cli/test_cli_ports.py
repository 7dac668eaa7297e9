"""Ports that nobody chose give way to something that is there already."""

import socket

import pytest
import typer

from bootstrap.settings import Settings, read_settings
from cli.up import with_free_ports


def test_a_usual_port_that_is_taken_is_replaced_and_this_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        usual = Settings.model_construct(_fields_set=set(), http_host="127.0.0.1", http_port=taken)
        chosen = with_free_ports(usual, "http_port").http_port
    assert chosen != taken
    assert f"port {taken} is taken" in capsys.readouterr().err


def test_a_port_that_was_chosen_is_not_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        chosen = read_settings(http_port=other.getsockname()[1])
        with pytest.raises(typer.Exit):
            with_free_ports(chosen, "http_port")


def test_free_ports_stay(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    settings = read_settings(http_port=free, inbox_port=0)
    assert with_free_ports(settings, "http_port", "inbox_port") == settings
    assert capsys.readouterr().err == ""
