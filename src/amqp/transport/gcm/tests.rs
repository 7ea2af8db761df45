//! The suites against published answers, and against ring's as the other end.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::OutboundChunks;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    SupportedProtocolVersion,
};

use super::*;

const NAME: &str = "ns.servicebus.windows.net";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// Test cases 4 and 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega), which NIST adopted.
#[test]
fn published_answers() {
    fn check<C: Cipher>(key: &str, cipher_text: &str, tag: &str) {
        let key = Key(Some(C::new_from_slice(&bytes(key)).expect("a key")));
        let nonce: [u8; 12] = bytes("cafebabefacedbaddecaf888").try_into().expect("a nonce");
        let about = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let mut text = plain.clone();
        let made = key.seal(&nonce, &about, &mut text).expect("sealed");
        assert_eq!((&text, made.to_vec()), (&bytes(cipher_text), bytes(tag)));
        text.extend(made);
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            assert_eq!(key.open(&nonce, &about, &mut other), Err(Error::DecryptError), "byte {at}");
        }
        assert_eq!(key.open(&nonce, &about[1..], &mut text.clone()), Err(Error::DecryptError));
        assert_eq!(key.open(&nonce, &about, &mut [0; TAG - 1]), Err(Error::DecryptError));
        assert_eq!(key.open(&nonce, &about, &mut text), Ok(plain.len()));
        assert_eq!(text[..plain.len()], plain);
    }
    let half = "feffe9928665731c6d6a8f9467308308";
    check::<Aes128Gcm>(
        half,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
         21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47",
    );
    check::<Aes256Gcm>(
        &half.repeat(2),
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    );
}

/// Records of one implementation are read by the other, with every kind of number that TLS counts them by.
#[test]
fn records_are_the_same_as_rings() {
    let ring = cipher_suite::TLS13_AES_256_GCM_SHA384.tls13().expect("TLS 1.3").aead_alg;
    let SupportedCipherSuite::Tls12(ring12) = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 else {
        panic!("TLS 1.2")
    };
    let (ring12, own): (_, &dyn Tls13AeadAlgorithm) = (ring12.aead_alg, &AES_256);
    let own12: &dyn Tls12AeadAlgorithm = &AES_256;
    assert_eq!((own.key_len(), own12.key_block_shape().enc_key_len), (ring.key_len(), 32));
    let key = || AeadKey::from([7; 32]);
    let iv = || Iv::new([9; 12]);
    for length in [0, 1, 15, 16, 17, 16_383, 16_384] {
        let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
        for number in [0, 1, 255, 1 << 32, u64::MAX] {
            let message = || OutboundPlainMessage {
                typ: ContentType::ApplicationData,
                version: ProtocolVersion::TLSv1_2,
                payload: OutboundChunks::Single(&plain),
            };
            let made = |mut by: Box<dyn MessageEncrypter>| {
                let made = by.encrypt(message(), number).expect("encrypted");
                assert_eq!(made.payload.as_ref().len(), by.encrypted_payload_len(length));
                made.payload.as_ref().to_vec()
            };
            let read = |mut by: Box<dyn MessageDecrypter>, mut text: Vec<u8>, number| {
                let version = ProtocolVersion::TLSv1_2;
                let message = InboundOpaqueMessage::new(ContentType::ApplicationData, version, &mut text);
                by.decrypt(message, number).map(|message| (message.typ, message.payload.to_vec()))
            };
            let sealed = made(own.encrypter(key(), iv()));
            assert_eq!(sealed, made(ring.encrypter(key(), iv())));
            let expected = Ok((ContentType::ApplicationData, plain.clone()));
            assert_eq!(read(own.decrypter(key(), iv()), sealed.clone(), number), expected);
            assert_eq!(read(ring.decrypter(key(), iv()), sealed.clone(), number), expected);
            let refused = read(own.decrypter(key(), iv()), sealed, number ^ 1);
            assert_eq!(refused, Err(Error::DecryptError), "another number");

            let sealed = made(own12.encrypter(key(), &[3; 4], &[4; 8]));
            assert_eq!(sealed, made(ring12.encrypter(key(), &[3; 4], &[4; 8])));
            assert_eq!(read(own12.decrypter(key(), &[3; 4]), sealed.clone(), number), expected);
            assert_eq!(read(ring12.decrypter(key(), &[3; 4]), sealed.clone(), number), expected);
            let refused = read(own12.decrypter(key(), &[3; 4]), sealed.clone(), number ^ 1);
            assert_eq!(refused, Err(Error::DecryptError), "another number");
            let refused = read(own12.decrypter(key(), &[3; 4]), sealed[..sealed.len().min(23)].to_vec(), number);
            assert_eq!(refused, Err(Error::DecryptError), "too short");
        }
    }
}

/// A peer that makes larger records than TLS allows, with the right key.
#[test]
fn records_that_are_too_large_are_refused() {
    let (key, iv) = (|| AeadKey::from([7; 32]), || Iv::new([9; 12]));
    let refused =
        |mut encrypter: Box<dyn MessageEncrypter>, mut decrypter: Box<dyn MessageDecrypter>, length: usize| {
            let plain = vec![1; length];
            let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
            let message = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(&plain) };
            let mut sealed = encrypter.encrypt(message, 0).expect("encrypted").payload.as_ref().to_vec();
            decrypter.decrypt(InboundOpaqueMessage::new(typ, version, &mut sealed), 0).map(|it| it.payload.len())
        };
    let own: &dyn Tls13AeadAlgorithm = &AES_256;
    let own12: &dyn Tls12AeadAlgorithm = &AES_256;
    for (length, expected) in [(1 << 14, Ok(1 << 14)), ((1 << 14) + 1, Err(Error::PeerSentOversizedRecord))] {
        assert_eq!(refused(own.encrypter(key(), iv()), own.decrypter(key(), iv()), length), expected);
        let pair = (own12.encrypter(key(), &[3; 4], &[4; 8]), own12.decrypter(key(), &[3; 4]));
        assert_eq!(refused(pair.0, pair.1, length), expected);
    }
}

/// A client with this module's suites, and a server with ring's that offers one suite alone.
fn pair(version: &'static SupportedProtocolVersion, suite: CipherSuite) -> (ClientConnection, ServerConnection) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let certificate = CertificateDer::from(params.self_signed(&key).expect("a certificate").der().to_vec());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let ring = rustls::crypto::ring::default_provider();
    let own = CryptoProvider { cipher_suites: without_aes_instructions(&ring.cipher_suites), ..ring.clone() };
    assert_eq!(own.cipher_suites.len(), ring.cipher_suites.len());
    let client = ClientConfig::builder_with_provider(Arc::new(own))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut one = ring;
    one.cipher_suites.retain(|other| other.suite() == suite);
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(one))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let client =
        ClientConnection::new(Arc::new(client), ServerName::try_from(NAME).expect("a name")).expect("a client");
    (client, ServerConnection::new(Arc::new(server)).expect("a server"))
}

/// The bytes that one end has for the other.
fn sent<S: SideData>(end: &mut ConnectionCommon<S>) -> Vec<u8> {
    let mut sent = Vec::new();
    while end.wants_write() {
        end.write_tls(&mut sent).expect("memory");
    }
    sent
}

/// Hands bytes over in pieces, and returns the plain text.
fn received<S: SideData>(end: &mut ConnectionCommon<S>, bytes: &[u8], piece: usize) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            end.read_tls(&mut piece).expect("memory");
            end.process_new_packets()?;
            let _ = end.reader().read_to_end(&mut plain);
        }
    }
    Ok(plain)
}

fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) {
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        received(server, &sent(client), 1_000).expect("the client's handshake");
        received(client, &sent(server), 1_000).expect("the server's handshake");
    }
}

/// Both versions with the suites for the certificate's key. Those for RSA differ in the handshake alone.
const PAIRS: [(&SupportedProtocolVersion, CipherSuite); 4] = [
    (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
    (&TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
    (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
];

#[test]
fn rings_server_is_understood_in_both_versions() {
    for (version, suite) in PAIRS {
        let (mut client, mut server) = pair(version, suite);
        shake_hands(&mut client, &mut server);
        assert_eq!(client.negotiated_cipher_suite().map(|it| it.suite()), Some(suite));
        let text: Vec<u8> = (0..100_000_u32).map(|at| u8::try_from(at % 253).expect("small")).collect();
        for (length, piece) in [(1, 1), (700, 1), (16_384, 777), (16_385, 5), (100_000, 4_096), (60_000, usize::MAX)] {
            let text = &text[..length];
            let (mut there, mut back) = (Vec::new(), Vec::new());
            // What rustls does not take at once is sent in the next round.
            while there.len() < length {
                client.writer().write_all(&text[there.len()..length.min(there.len() + 50_000)]).expect("taken");
                there.extend(received(&mut server, &sent(&mut client), piece).expect("the client's records"));
            }
            while back.len() < length {
                server.writer().write_all(&text[back.len()..length.min(back.len() + 50_000)]).expect("taken");
                back.extend(received(&mut client, &sent(&mut server), piece).expect("the server's records"));
            }
            assert!(there == text && back == text, "{suite:?}, {length} bytes in pieces of {piece}");
        }
        // Several hundred records, each with its own number.
        for number in 0..500_u32 {
            client.writer().write_all(&number.to_be_bytes()).expect("taken");
            assert_eq!(received(&mut server, &sent(&mut client), 7), Ok(number.to_be_bytes().to_vec()));
            server.writer().write_all(&number.to_be_bytes()).expect("taken");
            assert_eq!(received(&mut client, &sent(&mut server), 7), Ok(number.to_be_bytes().to_vec()));
        }
    }
}

#[test]
fn altered_repeated_and_missing_records_are_refused() {
    /// A record of the connection's server, and another one after it.
    fn records(server: &mut ServerConnection) -> [Vec<u8>; 2] {
        ["first", "second"].map(|text| {
            server.writer().write_all(text.as_bytes()).expect("taken");
            sent(server)
        })
    }
    for (version, suite) in PAIRS {
        type Attack = fn([Vec<u8>; 2]) -> Vec<u8>;
        let attacks: [(&str, Attack); 6] = [
            ("the first byte of the text", |[mut first, _]| {
                first[5] ^= 1;
                first
            }),
            ("the tag", |[mut first, _]| {
                let last = first.len() - 1;
                first[last] ^= 0x80;
                first
            }),
            ("a byte too few", |[mut first, _]| {
                first.pop();
                first[4] -= 1;
                first
            }),
            ("repeated", |[first, _]| [first.clone(), first].concat()),
            ("the wrong order", |[first, second]| [second, first].concat()),
            ("one is missing", |[_, second]| second),
        ];
        for (what, attack) in attacks {
            let (mut client, mut server) = pair(version, suite);
            shake_hands(&mut client, &mut server);
            let attacked = attack(records(&mut server));
            let error = received(&mut client, &attacked, usize::MAX).expect_err(what);
            assert_eq!(error, Error::DecryptError, "{suite:?}: {what}");
        }
    }
}
