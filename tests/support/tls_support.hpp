// Certificates for the tests of TLS, made when a test begins, in a folder of its own that goes with
// it: an authority, and whatever is to be signed by it, rightly or wrongly.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace support {

class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "asyncio-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
        path_ = name;
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};

// A certificate with its key, in one PEM file, the key first.
class TestCertificate {
  public:
    struct Wanted {
        std::string name = "localhost";
        std::string alternative_names = "DNS:localhost,IP:127.0.0.1,IP:::1";  // "": none
        std::string usage = "serverAuth";                                     // "": any
        const TestCertificate* issuer = nullptr;  // null: signed by itself
        bool authority = false;
        long begins = -3600;  // seconds from now
        long ends = 24L * 3600;
        const char* password = nullptr;  // of the key
    };

    TestCertificate(std::string file, const Wanted& wanted) : file_(std::move(file)) {
        key_.reset(EVP_EC_gen("P-256"));
        certificate_.reset(X509_new());
        X509* c = certificate_.get();
        require(key_ && c);
        X509_set_version(c, 2);
        static long serial = 1000;
        ASN1_INTEGER_set(X509_get_serialNumber(c), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(c), wanted.begins);
        X509_gmtime_adj(X509_getm_notAfter(c), wanted.ends);
        X509_set_pubkey(c, key_.get());
        // Safe because the name is bytes, which OpenSSL copies.
        const auto* name = reinterpret_cast<const unsigned char*>(wanted.name.c_str());
        X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, name, -1, -1, 0);
        const TestCertificate& issuer = wanted.issuer ? *wanted.issuer : *this;
        X509_set_issuer_name(c, X509_get_subject_name(issuer.certificate_.get()));
        add_extensions(wanted, issuer);
        require(X509_sign(c, issuer.key_.get(), EVP_sha256()) > 0);
        write(wanted.password);
    }

    // The PEM file.
    const std::string& file() const { return file_; }
    std::string der() const {
        unsigned char* bytes = nullptr;
        const int size = i2d_X509(certificate_.get(), &bytes);
        // Safe because bytes may be read as chars.
        std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
        OPENSSL_free(bytes);
        return der;
    }

  private:
    struct FreeKey {
        void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    };
    struct FreeX509 {
        void operator()(X509* p) const { X509_free(p); }
    };

    static void require(bool ok) {
        if (!ok) throw std::runtime_error("a test's certificate could not be made");
    }

    void add_extensions(const Wanted& wanted, const TestCertificate& issuer) {
        add(issuer, NID_subject_key_identifier, "hash");
        add(issuer, NID_authority_key_identifier, "keyid:always");
        if (wanted.authority) {
            add(issuer, NID_basic_constraints, "critical,CA:TRUE");
            add(issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
            return;
        }
        add(issuer, NID_basic_constraints, "critical,CA:FALSE");
        if (!wanted.usage.empty()) add(issuer, NID_ext_key_usage, wanted.usage);
        if (!wanted.alternative_names.empty()) {
            add(issuer, NID_subject_alt_name, wanted.alternative_names);
        }
    }

    void add(const TestCertificate& issuer, int nid, const std::string& value) {
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer.certificate_.get(), certificate_.get(), nullptr, nullptr,
                       0);
        X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
        require(extension != nullptr);
        X509_add_ext(certificate_.get(), extension, -1);
        X509_EXTENSION_free(extension);
    }

    void write(const char* password) {
        std::FILE* f = std::fopen(file_.c_str(), "we");
        require(f != nullptr);
        // Safe because OpenSSL only reads the password.
        auto* secret = const_cast<char*>(password);
        PEM_write_PrivateKey(f, key_.get(), password ? EVP_aes_128_cbc() : nullptr, nullptr, 0,
                             nullptr, secret);
        PEM_write_X509(f, certificate_.get());
        std::fclose(f);
    }

    std::string file_;
    std::unique_ptr<EVP_PKEY, FreeKey> key_;
    std::unique_ptr<X509, FreeX509> certificate_;
};

// What most tests need.
struct TestAuthority {
    TemporaryFolder folder;
    TestCertificate ca{folder / "ca.pem", {.name = "Test Authority", .authority = true}};
    TestCertificate server{folder / "server.pem", {.issuer = &ca}};

    TestCertificate make(const std::string& name, TestCertificate::Wanted wanted) const {
        if (!wanted.issuer) wanted.issuer = &ca;
        return TestCertificate(folder / (name + ".pem"), wanted);
    }
    TestCertificate make_self_signed(const std::string& name,
                                     const TestCertificate::Wanted& wanted) const {
        return TestCertificate(folder / (name + ".pem"), wanted);
    }
};

}  // namespace support
