//! The AES-GCM cipher suites of TLS with RustCrypto's `aes-gcm`, for WebAssembly.
//!
//! WebAssembly has no AES instructions. ring's code for such processors works on 32-bit words, RustCrypto's on 64-bit
//! words, which is twice as fast there. Both take the same time whatever the key and the data are: neither looks a
//! secret byte up in a table. Key exchange, signatures, hashes and ChaCha20-Poly1305 remain ring's.
//!
//! The records follow RFC 8446, section 5, and RFC 5288.

use std::marker::PhantomData;
use std::sync::LazyLock;

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadCore, AeadInOut, Aes128Gcm, Aes256Gcm, KeyInit};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls12_aad, make_tls13_aad,
};
use rustls::crypto::ring::cipher_suite;
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

/// The size of a tag, in bytes.
const TAG: usize = 16;
/// The part of the nonce that each record of TLS 1.2 states, in bytes.
const EXPLICIT_NONCE: usize = 8;
/// The part of the nonce that TLS 1.2 derives with the keys, in bytes.
const SALT: usize = 4;
/// The largest plain text of a record of TLS 1.2, in bytes.
const LARGEST_PLAIN: usize = 1 << 14;

static AES_128: Gcm<Aes128Gcm> = Gcm(PhantomData);
static AES_256: Gcm<Aes256Gcm> = Gcm(PhantomData);

static TLS13_AES_128: LazyLock<Option<Tls13CipherSuite>> =
    LazyLock::new(|| tls13(cipher_suite::TLS13_AES_128_GCM_SHA256, &AES_128));
static TLS13_AES_256: LazyLock<Option<Tls13CipherSuite>> =
    LazyLock::new(|| tls13(cipher_suite::TLS13_AES_256_GCM_SHA384, &AES_256));
static ECDSA_AES_128: LazyLock<Option<Tls12CipherSuite>> =
    LazyLock::new(|| tls12(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &AES_128));
static ECDSA_AES_256: LazyLock<Option<Tls12CipherSuite>> =
    LazyLock::new(|| tls12(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, &AES_256));
static RSA_AES_128: LazyLock<Option<Tls12CipherSuite>> =
    LazyLock::new(|| tls12(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &AES_128));
static RSA_AES_256: LazyLock<Option<Tls12CipherSuite>> =
    LazyLock::new(|| tls12(cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, &AES_256));

/// The suites of `ring`, with AES-GCM of this module, and ordered by what they cost here: ChaCha20-Poly1305, then AES
/// with ten rounds, then AES with fourteen.
pub(super) fn without_aes_instructions(ring: &[SupportedCipherSuite]) -> Vec<SupportedCipherSuite> {
    let own: Vec<SupportedCipherSuite> = suites().collect();
    let mut suites: Vec<SupportedCipherSuite> = ring
        .iter()
        .map(|suite| own.iter().find(|own| own.suite() == suite.suite()).unwrap_or(suite))
        .copied()
        .collect();
    suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 0,
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        _ => 2,
    });
    suites
}

/// All AES-GCM suites of ring, with the cipher of this module.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    let tls13 = [&TLS13_AES_128, &TLS13_AES_256].into_iter().filter_map(|suite| (**suite).as_ref());
    let tls12 = [&ECDSA_AES_128, &ECDSA_AES_256, &RSA_AES_128, &RSA_AES_256];
    let tls12 = tls12.into_iter().filter_map(|suite| (**suite).as_ref());
    tls13.map(SupportedCipherSuite::Tls13).chain(tls12.map(SupportedCipherSuite::Tls12))
}

fn tls13(suite: SupportedCipherSuite, aead_alg: &'static dyn Tls13AeadAlgorithm) -> Option<Tls13CipherSuite> {
    let ring = suite.tls13()?;
    Some(Tls13CipherSuite { common: common(&ring.common), hkdf_provider: ring.hkdf_provider, aead_alg, quic: None })
}

fn tls12(suite: SupportedCipherSuite, aead_alg: &'static dyn Tls12AeadAlgorithm) -> Option<Tls12CipherSuite> {
    let SupportedCipherSuite::Tls12(ring) = suite else { return None };
    Some(Tls12CipherSuite {
        common: common(&ring.common),
        prf_provider: ring.prf_provider,
        kx: ring.kx,
        sign: ring.sign,
        aead_alg,
    })
}

fn common(ring: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: ring.suite,
        hash_provider: ring.hash_provider,
        confidentiality_limit: ring.confidentiality_limit,
    }
}

/// AES-GCM with nonces of 96 bits and whole tags.
trait Cipher: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static {}

impl<C: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static> Cipher for C {}

/// AES-GCM with the key length of `C`, for both versions of TLS.
struct Gcm<C>(PhantomData<fn() -> C>);

impl<C: Cipher> Tls13AeadAlgorithm for Gcm<C> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Tls13 { key: Key::<C>::new(&key), iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Tls13 { key: Key::<C>::new(&key), iv })
    }

    fn key_len(&self) -> usize {
        C::key_size()
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        // Keys leave rustls for the kernel alone, and a component has none.
        Err(UnsupportedOperationError)
    }
}

impl<C: Cipher> Tls12AeadAlgorithm for Gcm<C> {
    fn encrypter(&self, key: AeadKey, salt: &[u8], explicit: &[u8]) -> Box<dyn MessageEncrypter> {
        // The explicit part may be any that does not repeat: it starts at what was derived with the keys, and the
        // record's number is added, as in TLS 1.3.
        let mut iv = [0; SALT + EXPLICIT_NONCE];
        for (to, from) in iv.iter_mut().zip(salt.iter().chain(explicit)) {
            *to = *from;
        }
        Box::new(Tls12Encrypter { key: Key::<C>::new(&key), iv: Iv::new(iv) })
    }

    fn decrypter(&self, key: AeadKey, salt: &[u8]) -> Box<dyn MessageDecrypter> {
        let mut own = [0; SALT];
        for (to, from) in own.iter_mut().zip(salt) {
            *to = *from;
        }
        Box::new(Tls12Decrypter { key: Key::<C>::new(&key), salt: own })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape { enc_key_len: C::key_size(), fixed_iv_len: SALT, explicit_nonce_len: EXPLICIT_NONCE }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// A key of AES-GCM. It is overwritten when it is dropped, and so is rustls's copy of it.
struct Key<C>(Option<C>);

impl<C: Cipher> Key<C> {
    /// rustls hands over as many bytes as the algorithm states; with any other number every record is refused.
    fn new(key: &AeadKey) -> Self {
        Self(C::new_from_slice(key.as_ref()).ok())
    }

    /// Encrypts `text` in place, and returns its tag.
    fn seal(&self, nonce: &[u8; 12], about: &[u8], text: &mut [u8]) -> Result<[u8; TAG], Error> {
        let cipher = self.0.as_ref().ok_or(Error::EncryptError)?;
        let sealed = cipher.encrypt_inout_detached(&(*nonce).into(), about, text.into());
        sealed.map(Into::into).map_err(|_| Error::EncryptError)
    }

    /// Decrypts `text` in place, if its tag at the end of it is right, and returns the length without the tag.
    fn open(&self, nonce: &[u8; 12], about: &[u8], text: &mut [u8]) -> Result<usize, Error> {
        let cipher = self.0.as_ref().ok_or(Error::DecryptError)?;
        let (text, tag) = text.split_last_chunk_mut::<TAG>().ok_or(Error::DecryptError)?;
        let opened = cipher.decrypt_inout_detached(&(*nonce).into(), about, (&mut *text).into(), &(*tag).into());
        opened.map(|()| text.len()).map_err(|_| Error::DecryptError)
    }
}

/// The records of TLS 1.3, in either direction.
struct Tls13<C> {
    key: Key<C>,
    iv: Iv,
}

impl<C: Cipher> MessageEncrypter for Tls13<C> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let nonce = Nonce::new(&self.iv, number).0;
        let tag = self.key.seal(&nonce, &make_tls13_aad(length), payload.as_mut())?;
        payload.extend_from_slice(&tag);
        // Every record is called application data of TLS 1.2 outside, see RFC 8446, section 5.2.
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + 1 + TAG
    }
}

impl<C: Cipher> MessageDecrypter for Tls13<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let nonce = Nonce::new(&self.iv, number).0;
        let about = make_tls13_aad(message.payload.len());
        let length = self.key.open(&nonce, &about, &mut message.payload)?;
        message.payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}

/// The records of TLS 1.2 to the server.
struct Tls12Encrypter<C> {
    key: Key<C>,
    iv: Iv,
}

impl<C: Cipher> MessageEncrypter for Tls12Encrypter<C> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let nonce = Nonce::new(&self.iv, number).0;
        let about = make_tls12_aad(number, message.typ, message.version, message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(self.encrypted_payload_len(message.payload.len()));
        payload.extend_from_slice(nonce.get(SALT..).unwrap_or_default());
        payload.extend_from_chunks(&message.payload);
        let text = payload.as_mut().get_mut(EXPLICIT_NONCE..).ok_or(Error::EncryptError)?;
        let tag = self.key.seal(&nonce, &about, text)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(message.typ, message.version, payload))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        EXPLICIT_NONCE + length + TAG
    }
}

/// The records of TLS 1.2 from the server.
struct Tls12Decrypter<C> {
    key: Key<C>,
    salt: [u8; SALT],
}

impl<C: Cipher> MessageDecrypter for Tls12Decrypter<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let plain = message.payload.len().checked_sub(EXPLICIT_NONCE + TAG).ok_or(Error::DecryptError)?;
        let about = make_tls12_aad(number, message.typ, message.version, plain);
        let (explicit, text) = message.payload.split_first_chunk_mut::<EXPLICIT_NONCE>().ok_or(Error::DecryptError)?;
        let mut nonce = [0; SALT + EXPLICIT_NONCE];
        for (to, from) in nonce.iter_mut().zip(self.salt.iter().chain(explicit.iter())) {
            *to = *from;
        }
        self.key.open(&nonce, &about, text)?;
        if plain > LARGEST_PLAIN {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(message.into_plain_message_range(EXPLICIT_NONCE..EXPLICIT_NONCE + plain))
    }
}

#[cfg(test)]
mod tests;
