"""The `eventsourcing` library's own suites for applications, unchanged, against a Vigil store. All of them apply."""

import pytest
from eventsourcing.tests import application as suites

from tests.conformance.vigil_store import OnFreshStore


# One case looks at a warning; in this test suite, warnings are errors before it can.
@pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
class TestApplication(OnFreshStore, suites.ApplicationTestCase):
    pass


class TestExampleApplication(OnFreshStore, suites.ExampleApplicationTestCase):
    expected_factory_topic = "adapters.eventsourcing_store:VigilFactory"
