"""The API against requests that were made from its own description, right ones and wrong ones."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
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


PATHS = ("/api/runs", "/api/fill", "/api/generate", "/api/predict", "/api/attention", "/api/view")
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.mark.parametrize("path", PATHS)
def test_no_request_breaks_it(api_schema: Any, path: str) -> None:
    [operation] = [found.ok() for found in api_schema.get_all_operations() if found.ok().path == path]

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("run"):  # else all would stop at the name
            case.body["run"] = "tiny" if len(str(case.body.get("text"))) % 2 else "generator"
        case.call_and_validate(checks=CHECKS)

    ask()


def test_every_address_is_asked(api_schema: Any) -> None:
    assert {found.ok().path for found in api_schema.get_all_operations()} == set(PATHS)
