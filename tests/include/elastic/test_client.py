"""Connecting, and the connection check against a real node and one that misbehaves."""

import datetime
import ipaddress
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from elasticsearch import Elasticsearch

import configs
from include.elastic.client import ElasticsearchProblem, address, check_elasticsearch, connect, index_name
from include.elastic.node import EmbeddedNode
from tests.servers import Answer, FaultyProxy, Reset, faulty_proxy


def authorization(proxy: FaultyProxy) -> str | None:
    lowered = {name.lower(): value for name, value in proxy.requests[-1][2].items()}
    return lowered.get("authorization")


def set_connection(monkeypatch: pytest.MonkeyPatch, url: str, **more: object) -> None:
    scheme, rest = url.split("://")
    host, port = rest.split(":")
    connection = {"conn_type": "elasticsearch", "schema": scheme, "host": host, "port": int(port), **more}
    monkeypatch.setenv("AIRFLOW_CONN_SEARCH", json.dumps(connection))
    monkeypatch.setattr(configs, "ELASTICSEARCH_CONN_ID", "search")
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", "")


def test_the_prefix_is_put_before_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert index_name("orders") == "orders"
    monkeypatch.setattr(configs, "INDEX_PREFIX", "staging-")
    assert index_name("orders") == "staging-orders"


@pytest.mark.contract
def test_a_good_cluster_passes_and_keeps_no_trace(client: Elasticsearch) -> None:
    found = check_elasticsearch(client)
    assert found == {
        "address": address(client),
        "version": configs.EMBEDDED_ELASTICSEARCH_VERSION,
        "status": "green",
        "nodes": 1,
    }
    assert not client.indices.exists(index=index_name("*"), allow_no_indices=False)


@pytest.mark.contract
def test_login_from_the_url_is_sent_and_never_shown(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    url = proxy.url.replace("://", "://shop:p%40ss%2Fword@")
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", url)
    with connect() as client:
        proxy.faults.append(Answer(401))
        with pytest.raises(ElasticsearchProblem, match="refused the login while being asked for its version") as raised:
            check_elasticsearch(client)
        assert authorization(proxy) == "Basic c2hvcDpwQHNzL3dvcmQ="  # shop:p@ss/word
        assert "ss" not in str(raised.value).replace("password", "")
        assert not raised.value.retry
        assert address(client) == proxy.url


@pytest.mark.parametrize("url", ["nonsense://u:secret@h", "http://u:secret@h:port", "u:secret@host", "http://"])
def test_an_address_that_is_none_is_refused_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", url)
    with pytest.raises(ElasticsearchProblem, match="ELASTICSEARCH_URL is not an address") as raised:
        connect()
    assert "secret" not in str(raised.value)


@pytest.mark.contract
def test_the_airflow_connection_gives_address_and_login(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, proxy.url, login="shop", password="secret")
    with connect() as client:
        client.cluster.health()
    assert authorization(proxy) == "Basic c2hvcDpzZWNyZXQ="  # shop:secret


@pytest.mark.contract
def test_the_airflow_connection_may_carry_an_api_key(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, proxy.url, login="unused", extra=json.dumps({"api_key": "a2V5", "other": 1}))
    with connect() as client:
        client.cluster.health()
    assert authorization(proxy) == "ApiKey a2V5"


def test_a_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "ELASTICSEARCH_URL", "")
    monkeypatch.setattr(configs, "ELASTICSEARCH_CONN_ID", "no_such_connection")
    with pytest.raises(ElasticsearchProblem, match="no Airflow connection `no_such_connection`: create it"):
        connect()


def test_a_connection_without_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "http://h:1", host="")
    with pytest.raises(ElasticsearchProblem, match="`search` has no host"):
        connect()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.mark.contract
def test_https_with_own_authority_without_verification_and_refused(
    shared_node: EmbeddedNode, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with faulty_proxy(shared_node.url, tls=context) as proxy:
        for extra in ({"ca_certs": str(certificate[0])}, {"verify_certs": False}):
            set_connection(monkeypatch, proxy.url, extra=json.dumps(extra))
            with connect() as client:
                assert client.cluster.health()["status"] == "green"
        set_connection(monkeypatch, proxy.url)
        with (
            connect() as client,
            pytest.raises(ElasticsearchProblem, match=r"did not answer while being asked.*self.signed"),
        ):
            check_elasticsearch(client)


@pytest.mark.contract
def test_an_unreachable_cluster_may_come_back() -> None:
    with (
        connect("http://127.0.0.1:9") as client,
        pytest.raises(ElasticsearchProblem, match=r"127.0.0.1:9 did not answer.*start it") as raised,
    ):
        check_elasticsearch(client)
    assert raised.value.retry


@pytest.mark.contract
def test_a_wrong_version_is_told(through_proxy: Elasticsearch, proxy: FaultyProxy) -> None:
    for version in ("8.18.4", "7.17.0", "9.0.1"):
        proxy.faults.append(Answer(200, {"nodes": {"a": {"version": version}, "b": {"version": "8.19.21"}}}))
        with pytest.raises(ElasticsearchProblem, match=f"is version {version}; use one from 8.19"):
            check_elasticsearch(through_proxy)


@pytest.mark.contract
def test_a_red_cluster_is_told(client: Elasticsearch) -> None:
    nowhere = {"routing.allocation.require._name": "no_such_node"}
    client.indices.create(
        index=index_name("red"), settings={"index": nowhere, "number_of_replicas": 0}, wait_for_active_shards=0
    )
    with pytest.raises(ElasticsearchProblem, match=r"is red \(shards that are missing: 1\)") as raised:
        check_elasticsearch(client)
    assert raised.value.retry


@pytest.mark.contract
def test_writing_is_really_tried(through_proxy: Elasticsearch, proxy: FaultyProxy) -> None:
    proxy.only = "/_doc/"
    proxy.faults.append(Answer(403, {"error": {"type": "security_exception", "reason": "action is unauthorized"}}))
    with pytest.raises(ElasticsearchProblem, match="does not allow this user trying to write: action is unauthorized"):
        check_elasticsearch(through_proxy)


@pytest.mark.contract
def test_a_check_interrupted_before_does_not_disturb(client: Elasticsearch) -> None:
    client.indices.create(index=index_name("orders-write-check"))
    check_elasticsearch(client)


@pytest.mark.contract
def test_a_broken_connection_is_tried_again(through_proxy: Elasticsearch, proxy: FaultyProxy) -> None:
    proxy.faults.append(Reset())
    assert check_elasticsearch(through_proxy)["version"] == configs.EMBEDDED_ELASTICSEARCH_VERSION
