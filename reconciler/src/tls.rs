//! The one TLS stack of the process: rustls with the `ring` provider.
//!
//! Every HTTP client we use is built without a provider of its own, so the process must name one before the first connection.

/// Makes `ring` the provider of the process. Calling it again does nothing; the constructors of our HTTP clients call it.
pub fn install_crypto_provider() {
    // An error means a provider is already installed, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
