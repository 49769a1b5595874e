//! The server's side of SRP-6a in Cognito's variant: the 3072-bit group of RFC 5054's appendix, generator 2, SHA-256.
//! Pure arithmetic. It is deliberately independent of the client: two implementations check each other.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// The prime of the group.
static PRIME: LazyLock<BigUint> = LazyLock::new(|| {
    let digits = concat!(
        "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd",
        "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed",
        "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f",
        "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b",
        "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510",
        "15728e5a8aaac42dad33170d04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7",
        "abf5ae8cdb0933d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18177b200c",
        "bbe117577a615d6c770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a93ad2caffffffffffffffff",
    );
    BigUint::parse_bytes(digits.as_bytes(), 16).expect("these are hexadecimal digits")
});
/// The generator of the group.
const GENERATOR: u8 = 2;
/// Suffix of the key derivation's input.
const KEY_INFO: &[u8] = b"Caldera Derived Key\x01";

/// The pool's stored form of a password.
#[derive(Clone)]
pub(super) struct Verifier {
    /// Random.
    pub(super) salt: BigUint,
    value: BigUint,
}

impl Verifier {
    /// `pool` is the part of the pool's id after the underscore.
    pub(super) fn new(pool: &str, srp_id: &str, password: &str, salt: &[u8]) -> Self {
        let salt = BigUint::from_bytes_be(salt);
        let identity = hash(&[format!("{pool}{srp_id}:{password}").as_bytes()]);
        let x = BigUint::from_bytes_be(&hash(&[&padded(&salt), &identity]));
        Self { salt, value: BigUint::from(GENERATOR).modpow(&x, &PRIME) }
    }
}

/// The server's half of one sign-in.
pub(super) struct Exchange {
    secret: BigUint,
    /// Sent to the client as `SRP_B`.
    pub(super) public_b: BigUint,
    public_a: BigUint,
    verifier: Verifier,
}

impl Exchange {
    /// `None` when the client's value is not a number of the group (zero would reveal the key).
    pub(super) fn new(verifier: Verifier, public_a: &str, secret: &[u8]) -> Option<Self> {
        let public_a = BigUint::parse_bytes(public_a.as_bytes(), 16)?;
        if &public_a % &*PRIME == BigUint::ZERO {
            return None;
        }
        let generator = BigUint::from(GENERATOR);
        let multiplier = BigUint::from_bytes_be(&hash(&[&padded(&PRIME), &padded(&generator)]));
        let secret = BigUint::from_bytes_be(secret);
        let public_b = (multiplier * &verifier.value + generator.modpow(&secret, &PRIME)) % &*PRIME;
        Some(Self { secret, public_b, public_a, verifier })
    }

    /// Whether a signature, base64, over these parts was made with the key that requires the password.
    pub(super) fn accepts(&self, signature: &str, parts: &[&[u8]]) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        keyed(&self.key(), parts).verify_slice(&signature).is_ok()
    }

    fn key(&self) -> Vec<u8> {
        let scrambler = BigUint::from_bytes_be(&hash(&[&padded(&self.public_a), &padded(&self.public_b)]));
        let base = &self.public_a * self.verifier.value.modpow(&scrambler, &PRIME);
        let shared = base.modpow(&self.secret, &PRIME);
        let extracted = keyed(&padded(&scrambler), &[&padded(&shared)]).finalize().into_bytes();
        keyed(&extracted, &[KEY_INFO]).finalize().into_bytes()[..16].to_vec()
    }
}

/// Big-endian, with a zero byte before a value whose highest bit is set, as in Java's format of a positive number.
fn padded(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes[0] >= 0x80 {
        bytes.insert(0, 0);
    }
    bytes
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().to_vec()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}
