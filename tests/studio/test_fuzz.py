"""The API against requests that were made from its own description, right ones and wrong ones."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from trained import generator_folder, run_folder

from glassformer.studio.app import studio
from glassformer.studio.guard import LOCAL


@pytest.fixture(scope="module")
def api_schema() -> Any:
    app = studio([run_folder(), generator_folder()], hosts=LOCAL | {"testserver"})
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_it(case: Any) -> None:
    if isinstance(case.body, dict) and case.body.get("run"):
        case.body["run"] = "tiny" if len(str(case.body.get("text"))) % 2 else "generator"  # else all stop at the name
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    case.call_and_validate(checks=checks)
