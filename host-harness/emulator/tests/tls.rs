//! The TLS of the services: their versions by name, their cipher suites, and no others.

use std::sync::Arc;

use azure_iot_emulator::{Emulator, EmulatorOptions, GatewayVersion, Service, TlsSuites};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// Makes a handshake as a client with these versions and suites. Returns the agreed version and suite, or the refusal.
async fn handshake(
    emulator: &Emulator,
    authority: &str,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    offers: fn(CipherSuite) -> bool,
) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).expect("PEM")).expect("an authority");
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| offers(suite.suite()));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = authority.rsplit_once(':').expect("a port").1;
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("a connection");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let connection = stream.get_ref().1;
    let version = connection.protocol_version().expect("a version");
    Ok(format!("{version:?} {:?}", connection.negotiated_cipher_suite().expect("a suite").suite()))
}

fn all(_: CipherSuite) -> bool {
    true
}

fn is_chacha20(suite: CipherSuite) -> bool {
    format!("{suite:?}").contains("CHACHA20")
}

async fn v2(tls_suites: TlsSuites) -> Emulator {
    let options = EmulatorOptions { gateway: GatewayVersion::V2, tls_suites, ..EmulatorOptions::default() };
    Emulator::start(options).await.expect("the emulator starts")
}

const CLASSIC: &str = "plant.azure-devices.net";
const FOR_SERVICES: &str = "plant.service.azure-devices.net";
const FOR_DEVICES: &str = "plant.device.azure-devices.net";

#[tokio::test]
async fn the_new_names_have_tls_1_3_and_the_classic_one_has_not() {
    let emulator = v2(TlsSuites::AsTheService).await;
    for port in [emulator.hub_host(), emulator.hub_amqp_host()] {
        for name in [CLASSIC, "localhost"] {
            let with = |versions| handshake(&emulator, &port, name, versions, all);
            assert!(with(BOTH).await.expect("1.2").starts_with("TLSv1_2"), "{name}");
            assert!(with(TLS13).await.is_err(), "{name}: 1.3 alone is refused");
        }
        for name in [FOR_SERVICES, FOR_DEVICES] {
            let with = |versions| handshake(&emulator, &port, name, versions, all);
            assert!(with(BOTH).await.expect("1.3").starts_with("TLSv1_3"), "{name}");
            assert!(with(TLS12).await.expect("1.2").starts_with("TLSv1_2"), "{name}");
            assert!(with(TLS13).await.expect("1.3 alone").starts_with("TLSv1_3"), "{name}");
        }
    }
    let events = emulator.event_hub_host();
    for (versions, agreed) in [(BOTH, "TLSv1_3"), (TLS12, "TLSv1_2"), (TLS13, "TLSv1_3")] {
        let version = handshake(&emulator, &events, "localhost", versions, all).await.expect("a handshake");
        assert!(version.starts_with(agreed), "{version}");
    }
    let dps = emulator.dps_host();
    assert!(handshake(&emulator, &dps, "localhost", BOTH, all).await.expect("1.2").starts_with("TLSv1_2"));
    assert!(handshake(&emulator, &dps, "localhost", TLS13, all).await.is_err());
}

#[tokio::test]
async fn suites_that_no_service_documents_are_refused() {
    let emulator = v2(TlsSuites::AsTheService).await;
    let endpoints = [
        (emulator.hub_host(), FOR_SERVICES),
        (emulator.hub_amqp_host(), CLASSIC),
        (emulator.dps_host(), "localhost"),
        (emulator.event_hub_host(), "localhost"),
    ];
    for (port, name) in endpoints {
        for versions in [TLS12, BOTH] {
            assert!(handshake(&emulator, &port, name, versions, is_chacha20).await.is_err(), "{port} {name}");
            let agreed = handshake(&emulator, &port, name, versions, all).await.expect("a handshake");
            assert!(agreed.contains("_AES_") && agreed.contains("_GCM_"), "{port} {name}: {agreed}");
        }
    }
}

#[tokio::test]
async fn one_suite_alone_can_be_asked_for_and_handshakes_are_kept() {
    for (suites, part) in [
        (TlsSuites::Aes128Gcm, "AES_128_GCM"),
        (TlsSuites::Aes256Gcm, "AES_256_GCM"),
        (TlsSuites::ChaCha20Poly1305, "CHACHA20_POLY1305"),
    ] {
        let emulator = v2(suites).await;
        let agreed = handshake(&emulator, &emulator.hub_host(), FOR_SERVICES, BOTH, all).await.expect("a handshake");
        assert!(agreed.contains(part), "{agreed}");
        // The server records a handshake a moment after the client has finished it.
        let mut kept = Vec::new();
        for _ in 0..100 {
            kept = emulator.tls_handshakes();
            if !kept.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let [kept] = kept.as_slice() else { panic!("one handshake") };
        assert_eq!((kept.service, kept.server_name.as_deref()), (Service::Hub, Some(FOR_SERVICES)));
        assert_eq!(format!("{} {}", kept.version, kept.suite), agreed);
    }
}
