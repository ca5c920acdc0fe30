"""Eight simulated devices for the whole suite; must be set before JAX starts."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with other work is no fault of a test.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=8".strip()


@pytest.fixture(scope="module", autouse=True)
def _programs_end_with_their_module():
    """Compiled programs of all modules together would need 10 GB."""
    yield
    import jax

    jax.clear_caches()
