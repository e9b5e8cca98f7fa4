from collections.abc import Iterator

import pytest

from tests.support.chaos.cluster import StruckCluster, running_cluster


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StruckCluster]:
    """One embedded broker for the scenarios that leave it alone."""
    with running_cluster(tmp_path_factory.mktemp("one-broker"), brokers=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StruckCluster]:
    """Three embedded brokers; a scenario that strikes them heals them before it ends."""
    with running_cluster(tmp_path_factory.mktemp("three-brokers"), brokers=3) as cluster:
        yield cluster


@pytest.fixture
def proxied_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StruckCluster]:
    """One embedded broker behind a proxy, for one scenario."""
    with running_cluster(tmp_path_factory.mktemp("proxied"), brokers=1, proxied=True) as cluster:
        yield cluster
