// Servers that a client must refuse, and some that it must take: certificates and protocols of
// every kind, each with the host that is asked for and the reason that is to be given. Made by
// OpenSSL itself, at security level 0, with a thread for each server.
//
// A case that is to be refused differs from one that is to be taken in one thing.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tls_raw.hpp"
#include "tls_support.hpp"

namespace zoo {

using tls::Freed;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;

inline void require(bool ok, const char* what) {
    if (!ok)
        throw std::runtime_error(std::string("the zoo lacks ") + what + ": " + tls::raw_error());
}

// ---- certificates -------------------------------------------------------------------------------

struct Animal;

// What the certificates of a zoo are for, unless a case says otherwise.
struct Purpose {
    const char* own = "serverAuth";
    const char* other = "clientAuth";
};
inline constexpr Purpose kServers{};
inline constexpr Purpose kClients{"clientAuth", "serverAuth"};
inline Purpose& purpose_in_work() {
    static thread_local Purpose purpose;
    return purpose;
}

struct Wanted {
    std::string subject = "zoo";                       // common name; "": an empty subject
    std::string names = "DNS:localhost,IP:127.0.0.1";  // alternative, in OpenSSL's words; "": none
    std::string purposes = purpose_in_work().own;      // extended key usage; "": none
    std::string basic = "critical,CA:FALSE";           // basic constraints; "": none
    std::string usage = {};                            // key usage; "": none
    std::string constraints = {};                      // of names; "": none
    const Animal* issuer = nullptr;                    // null: signed by itself
    EVP_PKEY* key = nullptr;                           // null: one of its own, P-256
    const char* digest = "SHA256";                     // "": of the key's own (Ed25519)
    bool pss = false;
    bool key_id = true;        // names its issuer's key
    bool critical = false;     // has an unknown critical extension
    std::string raw_dns = {};  // an alternative name as it is, for those with a NUL
    long version = 2;          // 0: X.509 v1, without any extension
    long begins = -3600;       // seconds from now
    long ends = 24L * 3600;
};

inline Wanted authority(std::string subject, const Animal* issuer = nullptr) {
    Wanted w;
    w.subject = std::move(subject);
    w.names = {};
    w.purposes = {};
    w.basic = "critical,CA:TRUE";
    w.usage = "critical,keyCertSign,cRLSign";
    w.issuer = issuer;
    return w;
}

// A certificate and its key.
struct Animal {
    X509Ptr certificate;
    EVP_PKEY* key = nullptr;  // of the zoo, or own_key
    KeyPtr own_key;

    std::string der() const {
        unsigned char* bytes = nullptr;
        const int size = i2d_X509(certificate.get(), &bytes);
        // Safe because bytes may be read as chars.
        std::string text(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
        OPENSSL_free(bytes);
        return text;
    }
};

inline X509Ptr from_der(const std::string& der) {
    // Safe because bytes may be read as unsigned chars.
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    X509Ptr made(d2i_X509(nullptr, &bytes, static_cast<long>(der.size())));
    require(made != nullptr, "a certificate that was changed");
    return made;
}

class Builder {
  public:
    Builder(Animal& a, const Wanted& w) : c_(a.certificate.get()), w_(w) {
        X509_set_version(c_, w.version);
        static std::atomic<long> serial{5000};
        ASN1_INTEGER_set(X509_get_serialNumber(c_), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(c_), w.begins);
        X509_gmtime_adj(X509_getm_notAfter(c_), w.ends);
        X509_set_pubkey(c_, a.key);
        if (!w.subject.empty()) {
            // Safe because a name is bytes, which OpenSSL copies.
            const auto* text = reinterpret_cast<const unsigned char*>(w.subject.data());
            X509_NAME_add_entry_by_NID(X509_get_subject_name(c_), NID_commonName, MBSTRING_UTF8,
                                       text, static_cast<int>(w.subject.size()), -1, 0);
        }
        issuer_ = w.issuer ? w.issuer->certificate.get() : c_;
        X509_set_issuer_name(c_, X509_get_subject_name(issuer_));
        if (w.version == 2) extend();
        sign(w.issuer ? w.issuer->key : a.key);
    }

  private:
    void extend() {
        add(NID_subject_key_identifier, "hash");
        const bool named = X509_get_ext_by_NID(issuer_, NID_subject_key_identifier, -1) >= 0;
        if (w_.key_id && named) add(NID_authority_key_identifier, "keyid:always");
        add(NID_basic_constraints, w_.basic);
        add(NID_key_usage, w_.usage);
        add(NID_ext_key_usage, w_.purposes);
        // RFC 5280, 4.2.1.6: critical if there is no subject.
        add(NID_subject_alt_name,
            !w_.names.empty() && w_.subject.empty() ? "critical," + w_.names : w_.names);
        add(NID_name_constraints, w_.constraints);
        if (!w_.raw_dns.empty()) add_raw_name();
        if (w_.critical) add_unknown();
    }
    void add(int nid, const std::string& value) {
        if (value.empty()) return;
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer_, c_, nullptr, nullptr, 0);
        X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
        require(e != nullptr, value.c_str());
        X509_add_ext(c_, e, -1);
        X509_EXTENSION_free(e);
    }
    void add_raw_name() {
        GENERAL_NAMES* all = sk_GENERAL_NAME_new_null();
        GENERAL_NAME* name = GENERAL_NAME_new();
        ASN1_IA5STRING* text = ASN1_IA5STRING_new();
        ASN1_STRING_set(text, w_.raw_dns.data(), static_cast<int>(w_.raw_dns.size()));
        GENERAL_NAME_set0_value(name, GEN_DNS, text);
        sk_GENERAL_NAME_push(all, name);
        X509_add1_ext_i2d(c_, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT);
        GENERAL_NAMES_free(all);
    }
    void add_unknown() {
        ASN1_OBJECT* type = OBJ_txt2obj("1.3.6.1.4.1.55555.1", 1);
        ASN1_OCTET_STRING* value = ASN1_OCTET_STRING_new();
        // Safe because a literal's bytes may be read as unsigned chars.
        const auto* null = reinterpret_cast<const unsigned char*>("\5\0");
        ASN1_OCTET_STRING_set(value, null, 2);
        X509_EXTENSION* e = X509_EXTENSION_create_by_OBJ(nullptr, type, 1, value);
        X509_add_ext(c_, e, -1);
        X509_EXTENSION_free(e);
        ASN1_OCTET_STRING_free(value);
        ASN1_OBJECT_free(type);
    }
    void sign(EVP_PKEY* key) {
        const EVP_MD* digest = *w_.digest ? EVP_get_digestbyname(w_.digest) : nullptr;
        EVP_MD_CTX* context = EVP_MD_CTX_new();
        EVP_PKEY_CTX* settings = nullptr;
        bool ok = EVP_DigestSignInit(context, &settings, digest, nullptr, key) == 1;
        if (w_.pss) ok = ok && EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) == 1;
        ok = ok && X509_sign_ctx(c_, context) > 0;
        EVP_MD_CTX_free(context);
        require(ok, "a signature");
    }

    X509* c_;
    const Wanted& w_;
    X509* issuer_ = nullptr;
};

// ---- cases --------------------------------------------------------------------------------------

// What a client meets, and what it is to say.
struct Case {
    std::string name;
    std::string reason;              // is in the error's text; "": all is well
    std::string host = "localhost";  // that is asked for
    // The reason is about the certificate: an SSLCertVerificationError.
    bool certificate = true;
    bool about_host = false;                           // of no interest to those who ask for none
    std::string authorities = {};                      // a file; "": the zoo's
    std::vector<const Animal*> chain = {};             // what the server sends, its own first
    std::function<void(SSL_CTX*)> settings = nullptr;  // of the server
    // In place of OpenSSL: what is sent at once, before the server hangs up.
    std::string bytes = {};
    // Changes what passes, as somebody on the way might.
    std::function<std::string(std::string)> to_server = nullptr;
    std::function<std::string(std::string)> to_client = nullptr;

    bool good() const { return reason.empty(); }
    // Whether the host is found without a name server.
    bool local() const { return host == "localhost" || host == "127.0.0.1"; }
};

inline Case refused(std::string name, std::string reason, const Animal& leaf,
                    std::vector<const Animal*> more = {}) {
    Case c;
    c.name = std::move(name);
    c.reason = std::move(reason);
    c.chain = std::move(more);
    c.chain.insert(c.chain.begin(), &leaf);
    return c;
}
inline Case taken(std::string name, const Animal& leaf, std::vector<const Animal*> more = {}) {
    return refused(std::move(name), {}, leaf, std::move(more));
}

class Zoo {
  public:
    explicit Zoo(Purpose purpose = kServers) : purpose_((purpose_in_work() = purpose)) {
        write(root_, "root.pem");
        add_times_and_trust();
        add_purposes_and_strength();
        add_chains();
        add_constraints();
        add_names();
        add_protocols();
    }

    const std::string& authorities() const { return authorities_; }
    const std::string& authorities(const Case& c) const {
        return c.authorities.empty() ? authorities_ : c.authorities;
    }
    // Of certificates, of protocols.
    const std::vector<Case>& certificates() const { return certificates_; }
    const std::vector<Case>& protocols() const { return protocols_; }
    const Animal& make(const Wanted& wanted) {
        Animal& a = keep();
        a.key = wanted.key;
        if (!a.key) {
            a.own_key.reset(EVP_EC_gen("P-256"));
            a.key = a.own_key.get();
        }
        a.certificate.reset(X509_new());
        require(a.key && a.certificate, "a key");
        const Builder built(a, wanted);
        return a;
    }
    const Animal& root() const { return root_; }
    std::string write(const Animal& a, const std::string& name) {
        const std::string file = folder_ / name;
        std::FILE* f = std::fopen(file.c_str(), "ae");
        require(f != nullptr, "a file");
        PEM_write_X509(f, a.certificate.get());
        std::fclose(f);
        return file;
    }

    // What the server of a case is made of.
    static tls::SslCtxPtr context(const Case& c) {
        tls::SslCtxPtr made(SSL_CTX_new(TLS_server_method()));
        SSL_CTX* ctx = made.get();
        SSL_CTX_set_security_level(ctx, 0);
        SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
        SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL:@SECLEVEL=0");
        SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
        use(ctx, c.chain);
        if (c.settings) c.settings(ctx);
        return made;
    }
    static void use(SSL_CTX* ctx, const std::vector<const Animal*>& chain) {
        if (chain.empty()) return;
        require(SSL_CTX_use_certificate(ctx, chain.front()->certificate.get()) == 1, "this leaf");
        require(SSL_CTX_use_PrivateKey(ctx, chain.front()->key) == 1, "this key");
        for (std::size_t i = 1; i < chain.size(); ++i) {
            SSL_CTX_add1_chain_cert(ctx, chain[i]->certificate.get());
        }
    }

  private:
    Animal& keep() {
        animals_.push_back(std::make_unique<Animal>());
        return *animals_.back();
    }
    EVP_PKEY* keep(EVP_PKEY* key) {
        require(key != nullptr, "a key");
        keys_.emplace_back(key);
        return key;
    }
    const Animal& leaf(Wanted w) {
        if (!w.issuer) w.issuer = &root_;
        return make(w);
    }
    const Animal& changed(const Animal& from, const std::function<void(std::string&)>& change) {
        std::string der = from.der();
        change(der);
        Animal& a = keep();
        a.certificate = from_der(der);
        a.key = from.key;
        return a;
    }
    Case& add(Case c) {
        certificates_.push_back(std::move(c));
        return certificates_.back();
    }
    void bad_name(std::string name, const std::string& host, Wanted w) {
        const bool ip = host.find_first_not_of("0123456789.:abcdef") == std::string::npos;
        add(refused(std::move(name),
                    (ip ? "IP address mismatch" : "Hostname mismatch") +
                        std::string(", certificate is not valid for '") + host + "'.",
                    leaf(w)))
            .host = host;
        certificates_.back().about_host = true;
    }
    void bad_name(std::string name, const std::string& host, const std::string& names) {
        Wanted w;
        w.names = names;
        bad_name(std::move(name), host, w);
    }
    void good_name(std::string name, const std::string& host, const std::string& names) {
        Wanted w;
        w.names = names;
        add(taken(std::move(name), leaf(w))).host = host;
    }

    void add_times_and_trust();
    void add_purposes_and_strength();
    void add_chains();
    void add_constraints();
    void add_names();
    void add_protocols();

    support::TemporaryFolder folder_;
    Purpose purpose_;  // set before the first certificate is made
    std::vector<std::unique_ptr<Animal>> animals_;
    std::vector<KeyPtr> keys_;
    EVP_PKEY* rsa_ = keep(EVP_RSA_gen(2048));
    const Animal& root_ = make(authority("Zoo Authority"));
    std::string authorities_ = folder_ / "root.pem";
    std::vector<Case> certificates_;
    std::vector<Case> protocols_;
};

inline void Zoo::add_times_and_trust() {
    Wanted w;
    const Animal& good = leaf(w);
    add(taken("exact name", good));
    w.begins = -7200;
    w.ends = -3600;
    add(refused("expired", "certificate has expired", leaf(w)));
    w.begins = 3600;
    w.ends = 7200;
    add(refused("not yet valid", "certificate is not yet valid", leaf(w)));
    add(refused("self-signed", "self-signed certificate", make({})));

    const Animal& unknown = make(authority("Unknown Authority"));
    Wanted of_unknown;
    of_unknown.issuer = &unknown;
    const Animal& stranger = make(of_unknown);
    add(refused("unknown authority", "unable to get local issuer certificate", stranger));
    add(refused("unknown authority, sent along", "self-signed certificate in certificate chain",
                stranger, {&unknown}));
    const Animal& impostor = make(authority("Zoo Authority"));
    Wanted of_impostor;
    of_impostor.issuer = &impostor;
    add(refused("authority of the same name with another key",
                "unable to get local issuer certificate", make(of_impostor)));
    of_impostor.key_id = false;
    add(refused("authority of the same name with another key, which is not named",
                "certificate signature failure", make(of_impostor)));
    add(refused("authority of the same name with another key, sent along",
                "certificate signature failure", make(of_impostor), {&impostor}));

    add(refused(
        "tampered signature", "certificate signature failure",
        changed(good, [](std::string& der) { der.back() = static_cast<char>(der.back() ^ 1); })));
    add(refused("tampered name", "certificate signature failure",
                changed(leaf({.names = "DNS:lokalhost"}), [](std::string& der) {
                    der.replace(der.find("lokalhost"), 9, "localhost");
                })));

    // Who is trusted, and for how long.
    Wanted old = authority("Old Authority");
    old.begins = -7200;
    old.ends = -3600;
    const Animal& old_root = make(old);
    Wanted of_old;
    of_old.issuer = &old_root;
    add(refused("expired authority", "certificate has expired", make(of_old))).authorities =
        write(old_root, "old.pem");
    const Animal& pinned = make({});
    add(taken("self-signed, but trusted", pinned)).authorities = write(pinned, "pinned.pem");
    Wanted of_pinned;
    of_pinned.issuer = &pinned;
    of_pinned.subject = "child";
    add(refused("trusted leaf as an issuer", "invalid CA certificate", make(of_pinned), {&pinned}))
        .authorities = certificates_.back().authorities;
}

inline void Zoo::add_purposes_and_strength() {
    const char* const unsuitable = "unsuitable certificate purpose";
    for (const char* purposes : {purpose_.other, "codeSigning", "emailProtection,OCSPSigning"}) {
        add(refused(std::string("for another purpose: ") + purposes, unsuitable,
                    leaf({.purposes = purposes})));
    }
    add(refused("key that may not sign or agree", unsuitable,
                leaf({.usage = "critical,dataEncipherment"})));
    add(taken("for any purpose", leaf({.purposes = ""})));
    add(taken("for servers and clients", leaf({.purposes = "serverAuth,clientAuth"})));
    add(taken("key that may sign", leaf({.usage = "critical,digitalSignature"})));
    add(refused("unknown critical extension", "unhandled critical extension",
                leaf({.critical = true})));

    const Animal& rsa_root = make([&] {
        Wanted w = authority("RSA Authority", &root_);
        w.key = rsa_;
        return w;
    }());
    const auto by_rsa = [&](const char* digest) {
        Wanted w;
        w.issuer = &rsa_root;
        w.digest = digest;
        return w;
    };
    add(refused("MD5 signature", "CA signature digest algorithm too weak", make(by_rsa("MD5")),
                {&rsa_root}));
    add(refused("SHA-1 signature", "CA signature digest algorithm too weak", make(by_rsa("SHA1")),
                {&rsa_root}));
    add(refused("SHA-1 signature, ECDSA", "CA signature digest algorithm too weak",
                leaf({.digest = "SHA1"})));
    for (const char* digest : {"SHA256", "SHA384", "SHA512"}) {
        add(taken(std::string("RSA signature, ") + digest, make(by_rsa(digest)), {&rsa_root}));
    }
    Wanted pss = by_rsa("SHA256");
    pss.pss = true;
    add(taken("RSA-PSS signature", make(pss), {&rsa_root}));

    add(refused("RSA 512", "EE certificate key too weak", leaf({.key = keep(EVP_RSA_gen(512))})))
        .settings = [](SSL_CTX* ctx) {
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);  // too short for the signature of 1.3
        SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256:RSA+SHA256");
    };
    EVP_PKEY* rsa_1024 = keep(EVP_RSA_gen(1024));
    add(refused("RSA 1024", "EE certificate key too weak", leaf({.key = rsa_1024})));
    Wanted weak = authority("Weak Authority", &root_);
    weak.key = rsa_1024;
    const Animal& weak_middle = make(weak);
    add(refused("RSA 1024 in the chain", "CA certificate key too weak",
                make({.issuer = &weak_middle}), {&weak_middle}));
    add(taken("RSA 2048", leaf({.key = rsa_})));
    add(taken("P-384", leaf({.key = keep(EVP_EC_gen("P-384"))})));
    add(taken("P-521", leaf({.key = keep(EVP_EC_gen("P-521"))})));
    EVP_PKEY* ed = keep(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    add(taken("Ed25519", leaf({.key = ed})));
    Wanted ed_authority = authority("Ed25519 Authority", &root_);
    ed_authority.key = ed;
    const Animal& ed_middle = make(ed_authority);
    Wanted by_ed;
    by_ed.issuer = &ed_middle;
    by_ed.digest = "";
    add(taken("Ed25519 signature", make(by_ed), {&ed_middle}));
}

inline void Zoo::add_chains() {
    const auto under = [&](const Wanted& w) -> std::pair<const Animal*, const Animal*> {
        const Animal& middle = make(w);
        Wanted of_middle;
        of_middle.issuer = &middle;
        return {&make(of_middle), &middle};
    };
    const auto middle = [&] { return authority("Intermediate", &root_); };
    const auto [good, between] = under(middle());
    add(taken("intermediate authority", *good, {between}));
    add(taken("intermediate authority and root", *good, {between, &root_}));
    const Animal& stray = make({});
    add(taken("strays in the chain", *good, {&stray, between, good}));
    add(refused("missing intermediate", "unable to get local issuer certificate", *good));
    add(taken("missing intermediate that is trusted", *good)).authorities =
        write(*between, "between.pem");

    const auto spoilt = [&](const char* name, const char* reason, const Wanted& w) {
        const auto [l, m] = under(w);
        add(refused(name, reason, *l, {m}));
    };
    Wanted w = middle();
    w.begins = -7200;
    w.ends = -3600;
    spoilt("expired intermediate", "certificate has expired", w);
    w.begins = 3600;
    w.ends = 7200;
    spoilt("intermediate that is not yet valid", "certificate is not yet valid", w);
    w = middle();
    w.basic = "critical,CA:FALSE";
    spoilt("issuer that is no authority", "invalid CA certificate", w);
    w.usage = {};
    spoilt("issuer that is no authority, without key usage", "invalid CA certificate", w);
    w = middle();
    w.basic = {};
    spoilt("issuer without basic constraints", "invalid CA certificate", w);
    w.usage = {};
    spoilt("issuer without extensions", "invalid CA certificate", w);
    w.version = 0;
    spoilt("issuer of X.509 version 1", "invalid CA certificate", w);
    w = middle();
    w.usage = "critical,cRLSign";
    spoilt("issuer that may not sign certificates", "invalid CA certificate", w);
    Wanted as_leaf;
    as_leaf.issuer = &root_;
    as_leaf.subject = "some leaf";
    spoilt("leaf as an issuer", "invalid CA certificate", as_leaf);
    w = middle();
    w.critical = true;
    spoilt("unknown critical extension in the chain", "unhandled critical extension", w);
    w = middle();
    w.purposes = purpose_.other;
    spoilt("intermediate for another purpose", "unsuitable certificate purpose", w);
    w = middle();
    w.digest = "SHA1";
    spoilt("SHA-1 signature in the chain", "CA signature digest algorithm too weak", w);

    // Path length: 0 allows leaves only.
    Wanted none = authority("No Authorities Below", &root_);
    none.basic = "critical,CA:TRUE,pathlen:0";
    const Animal& last = make(none);
    add(taken("path length 0", make({.issuer = &last}), {&last}));
    const Animal& beyond = make(authority("Beyond", &last));
    add(refused("path length exceeded", "path length constraint exceeded",
                make({.issuer = &beyond}), {&beyond, &last}));
    none.basic = "critical,CA:TRUE,pathlen:1";
    none.subject = "One Authority Below";
    const Animal& one = make(none);
    const Animal& below = make(authority("Below", &one));
    add(taken("path length 1", make({.issuer = &below}), {&below, &one}));
}

inline void Zoo::add_constraints() {
    const auto add_one = [&](const std::string& name, const char* reason, const std::string& rule,
                             const std::string& names, const std::string& host) {
        Wanted w = authority("Constrained", &root_);
        w.constraints = "critical," + rule;
        const Animal& middle = make(w);
        Wanted under;
        under.issuer = &middle;
        under.names = names;
        add(refused(name, reason, make(under), {&middle})).host = host;
    };
    const char* const outside = "permitted subtree violation";
    const char* const inside = "excluded subtree violation";
    const std::string both = "DNS:localhost,IP:127.0.0.1";
    add_one("name that is permitted", "", "permitted;DNS:localhost", "DNS:localhost", "localhost");
    add_one("name below one that is permitted", "", "permitted;DNS:zoo.test", "DNS:www.zoo.test",
            "www.zoo.test");
    add_one("name that is not permitted", outside, "permitted;DNS:zoo.test", "DNS:localhost",
            "localhost");
    add_one("one of two names is not permitted", outside, "permitted;DNS:localhost",
            "DNS:localhost,DNS:zoo.test", "localhost");
    add_one("name that ends like one that is permitted", outside, "permitted;DNS:zoo.test",
            "DNS:otherzoo.test", "otherzoo.test");
    add_one("name that is not excluded", "", "excluded;DNS:zoo.test", "DNS:localhost", "localhost");
    add_one("name that is excluded", inside, "excluded;DNS:localhost", "DNS:localhost",
            "localhost");
    add_one("name below one that is excluded", inside, "excluded;DNS:zoo.test", "DNS:www.zoo.test",
            "www.zoo.test");
    add_one("name that is excluded, in capitals", inside, "excluded;DNS:localhost", "DNS:LOCALHOST",
            "localhost");
    add_one("wildcard of what is excluded", inside, "excluded;DNS:zoo.test", "DNS:*.zoo.test",
            "www.zoo.test");
    add_one("wildcard for more than is permitted", outside, "permitted;DNS:www.zoo.test",
            "DNS:*.zoo.test", "www.zoo.test");
    add_one("wildcard for a name that is excluded", inside, "excluded;DNS:bad.zoo.test",
            "DNS:*.zoo.test", "bad.zoo.test");
    certificates_.back().about_host = true;
    add_one("wildcard for a name that is not excluded", "", "excluded;DNS:bad.zoo.test",
            "DNS:*.zoo.test", "good.zoo.test");
    add_one("address that is permitted", "", "permitted;IP:127.0.0.0/255.0.0.0", "IP:127.0.0.1",
            "127.0.0.1");
    add_one("address that is not permitted", outside, "permitted;IP:10.0.0.0/255.0.0.0", both,
            "127.0.0.1");
    add_one("address that is not excluded", "", "excluded;IP:10.0.0.0/255.0.0.0", both,
            "127.0.0.1");
    add_one("address that is excluded", inside, "excluded;IP:127.0.0.0/255.0.0.0", both,
            "127.0.0.1");
}

inline void Zoo::add_names() {
    bad_name("wrong host", "localhost", "DNS:other.test");
    bad_name("host with something before", "localhost", "DNS:xlocalhost");
    bad_name("host with something behind", "localhost", "DNS:localhost.zoo.test");
    bad_name("host below that of the certificate", "www.zoo.test", "DNS:zoo.test");
    bad_name("host as a URI", "localhost", "URI:https://localhost/");
    bad_name("host as an address of mail", "localhost", "email:localhost@localhost");
    bad_name("wildcard for two labels", "a.b.zoo.test", "DNS:*.zoo.test");
    bad_name("wildcard for no label", "zoo.test", "DNS:*.zoo.test");
    bad_name("wildcard of a top level", "zoo.test", "DNS:*.test");
    bad_name("wildcard alone", "localhost", "DNS:*");
    bad_name("wildcard behind a letter", "foo.zoo.test", "DNS:f*.zoo.test");
    bad_name("wildcard before a letter", "foo.zoo.test", "DNS:*o.zoo.test");
    bad_name("wildcard in a label", "foo.zoo.test", "DNS:f*o.zoo.test");
    bad_name("wildcard in the middle", "a.b.zoo.test", "DNS:a.*.zoo.test");
    bad_name("wildcard at the end", "zoo.test", "DNS:zoo.*");
    bad_name("two wildcards", "a.b.zoo.test", "DNS:*.*.zoo.test");
    bad_name("wildcard in an encoded label", "xn--bcher-kva.zoo.test", "DNS:xn--*.zoo.test");
    bad_name("wildcard for an address", "127.0.0.1", "DNS:*.0.0.1");
    bad_name("address as a name", "127.0.0.1", "DNS:127.0.0.1");
    bad_name("another address", "127.0.0.1", "DNS:localhost,IP:127.0.0.2");
    bad_name("name without the address", "127.0.0.1", "DNS:localhost");
    bad_name("address without the name", "localhost", "IP:127.0.0.1");
    bad_name("address of version 6 for one of version 4", "127.0.0.1", "IP:::ffff:127.0.0.1");
    Wanted w;
    w.names = {};
    w.subject = "localhost";
    bad_name("common name alone", "localhost", w);
    w.subject = "127.0.0.1";
    bad_name("address as the common name", "127.0.0.1", w);
    w.subject = "*.zoo.test";
    bad_name("wildcard as the common name", "www.zoo.test", w);
    w.subject = "localhost";
    w.names = "DNS:other.test";
    bad_name("common name beside others", "localhost", w);
    w.names = "email:somebody@zoo.test";
    bad_name("common name beside an address of mail", "localhost", w);
    w.names = {};
    w.subject = std::string("localhost\0.zoo.test", 19);
    bad_name("NUL in the common name", "localhost", w);
    w.subject = "zoo";
    w.raw_dns = std::string("localhost\0.zoo.test", 19);
    bad_name("NUL in a name", "localhost", w);
    w.raw_dns = std::string("localhost\0", 10);
    bad_name("NUL behind a name", "localhost", w);
    w.raw_dns = "localhost ";
    bad_name("blank behind a name", "localhost", w);
    w.raw_dns = "localhost.";
    bad_name("dot behind a name", "localhost", w);
    w.raw_dns = ".localhost";
    bad_name("dot before a name", "localhost", w);
    w.raw_dns = "";

    good_name("name in capitals", "localhost", "DNS:LocalHost");
    good_name("one of many names", "localhost", "DNS:a.test,DNS:b.test,IP:10.0.0.1,DNS:localhost");
    good_name("wildcard for one label", "www.zoo.test", "DNS:*.zoo.test");
    good_name("wildcard for an encoded label", "xn--bcher-kva.zoo.test", "DNS:*.zoo.test");
    good_name("address", "127.0.0.1", "IP:127.0.0.1");
    good_name("address of version 6", "::1", "IP:::1");
    good_name("encoded name",
              "b\xc3\xbc"
              "cher.zoo.test",
              "DNS:xn--bcher-kva.zoo.test");
    Wanted bare;
    bare.subject = {};
    add(taken("no subject", leaf(bare)));
}

inline KeyPtr weak_dh() {
    BIGNUM* p = BN_get_rfc2409_prime_1024(nullptr);
    BIGNUM* g = BN_new();
    BN_set_word(g, 2);
    OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_P, p);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_G, g);
    OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "DH", nullptr);
    EVP_PKEY* key = nullptr;
    EVP_PKEY_fromdata_init(context);
    EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEY_PARAMETERS, parameters);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(g);
    BN_free(p);
    return KeyPtr(key);
}

inline std::string record(char type, std::string_view version, const std::string& body) {
    return std::string(1, type) + std::string(version) + tls::as_bytes(body.size(), 2) + body;
}
inline std::string message(char type, const std::string& body) {
    return std::string(1, type) + tls::as_bytes(body.size(), 3) + body;
}
// A server's hello of an old version, as a server sends it that looks at nothing.
inline std::string old_hello(std::string_view version) {
    const std::string body = std::string(version) + std::string(32, 'r') + '\0' + "\xc0\x13" + '\0';
    return record(22, version, message(2, body));
}

inline void Zoo::add_protocols() {
    const Animal& ec = leaf({});
    const Animal& rsa = leaf({.key = rsa_});
    const auto add = [&](std::string name, std::string reason, const Animal* cert) -> Case& {
        Case c;
        c.name = std::move(name);
        c.reason = std::move(reason);
        c.certificate = false;
        if (cert) c.chain = {cert};
        protocols_.push_back(std::move(c));
        return protocols_.back();
    };
    const auto limits = [](int least, int most) {
        return [=](SSL_CTX* ctx) {
            SSL_CTX_set_min_proto_version(ctx, least);
            SSL_CTX_set_max_proto_version(ctx, most);
        };
    };
    const auto suite = [&](const char* ciphers) {
        return [=](SSL_CTX* ctx) {
            SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
            const std::string list = std::string(ciphers) + ":@SECLEVEL=0";
            require(SSL_CTX_set_cipher_list(ctx, list.c_str()) == 1, ciphers);
        };
    };
    add("TLS 1.2", "", &ec).settings = limits(TLS1_2_VERSION, TLS1_2_VERSION);
    add("TLS 1.3", "", &ec).settings = limits(TLS1_3_VERSION, TLS1_3_VERSION);
    const char* const version = "tlsv1 alert protocol version";
    add("TLS 1.0", version, &ec).settings = limits(TLS1_VERSION, TLS1_VERSION);
    add("TLS 1.1", version, &ec).settings = limits(TLS1_1_VERSION, TLS1_1_VERSION);
    add("TLS 1.0 without asking", "unsupported protocol", nullptr).bytes = old_hello("\3\1");
    add("TLS 1.1 without asking", "unsupported protocol", nullptr).bytes = old_hello("\3\2");
    add("SSL 3 without asking", "unsupported protocol", nullptr).bytes =
        old_hello(std::string_view("\3\0", 2));

    const char* const no_suite = "sslv3 alert handshake failure";
    const auto add_suite = [&](const char* kind, const char* ciphers, const Animal* cert) {
        add(std::string(kind) + ": " + ciphers, no_suite, cert).settings = suite(ciphers);
    };
    for (const char* s : {"AES128-GCM-SHA256", "AES256-SHA256", "AES128-SHA"}) {
        add_suite("no forward secrecy", s, &rsa);
    }
    add_suite("CBC with SHA-1", "ECDHE-ECDSA-AES128-SHA", &ec);
    add_suite("CBC with SHA-1", "ECDHE-RSA-AES256-SHA", &rsa);
    add_suite("nobody's certificate", "AECDH-AES256-SHA", nullptr);
    add_suite("nobody's certificate", "ADH-AES256-GCM-SHA384", nullptr);
    protocols_.back().settings = [](SSL_CTX* ctx) {
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_cipher_list(ctx, "ADH-AES256-GCM-SHA384:@SECLEVEL=0");
        SSL_CTX_set_dh_auto(ctx, 1);
    };
    add_suite("no encryption", "NULL-SHA256", &rsa);
    add_suite("no encryption", "ECDHE-ECDSA-NULL-SHA", &ec);
    add_suite("Camellia", "ECDHE-ECDSA-CAMELLIA256-SHA384", &ec);
    add_suite("Camellia", "CAMELLIA128-SHA", &rsa);
    add_suite("ARIA", "ECDHE-ECDSA-ARIA256-GCM-SHA384", &ec);
    add_suite("CCM with a short tag", "ECDHE-ECDSA-AES128-CCM8", &ec);
    add("CCM with a short tag, TLS 1.3", no_suite, &ec).settings = [](SSL_CTX* ctx) {
        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_CCM_8_SHA256");
    };
    for (const char* s : {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"}) {
        add(std::string("TLS 1.2, ") + s, "", &ec).settings = suite(s);
    }
    for (const bool weak : {true, false}) {
        add(weak ? "Diffie-Hellman with 1024 bits" : "Diffie-Hellman with 2048 bits",
            weak ? "dh key too small" : "", &rsa)
            .settings = [weak](SSL_CTX* ctx) {
            SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
            SSL_CTX_set_cipher_list(ctx, "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0");
            if (weak) {
                require(SSL_CTX_set0_tmp_dh_pkey(ctx, weak_dh().release()) == 1, "a weak group");
            } else {
                SSL_CTX_set_dh_auto(ctx, 1);
            }
        };
    }
    add("handshake signed with SHA-1", no_suite, &ec).settings = [](SSL_CTX* ctx) {
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA1");
    };

    // Somebody on the way who would have the two speak TLS 1.2: the server says in its random
    // number that it could do better (RFC 8446, 4.1.3).
    add("downgrade to TLS 1.2", "inappropriate fallback", &ec).to_server = [](std::string flight) {
        return tls::with_extensions(flight, [](std::size_t& type, std::string&) {
            return type != TLSEXT_TYPE_supported_versions;
        });
    };
    add("another suite than was offered", "wrong cipher returned", &ec).settings =
        limits(TLS1_2_VERSION, TLS1_2_VERSION);
    protocols_.back().to_client = [](std::string flight) {
        const std::size_t session_id = 5 + 4 + 2 + 32;
        if (flight.size() > session_id && flight[0] == 22 && flight[5] == 2) {
            const std::size_t at = session_id + 1 + tls::number_at(flight, session_id, 1);
            flight.replace(at, 2, std::string("\0\x2f", 2));  // AES128-SHA
        }
        return flight;
    };
    add("changed on the way", "bad", &ec).to_client = [](std::string flight) {
        flight.back() = static_cast<char>(flight.back() ^ 1);
        return flight;
    };

    const char* const not_tls = "wrong version number";
    const auto add_bytes = [&](const char* name, const char* reason, std::string bytes) {
        add(name, reason, nullptr).bytes = std::move(bytes);
    };
    add_bytes("plain HTTP", not_tls, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    add_bytes("SSH", not_tls, "SSH-2.0-OpenSSH_9.2\r\n");
    add_bytes("SMTP", not_tls, "220 mail.zoo.test ESMTP\r\n");
    add_bytes("garbage", not_tls, "\x8f\x11\xd0\x5b\xe6\x31\x09\xc4\x7a\xee\x92\x40");
    add_bytes("record of 20,000 bytes", "packet length too long",
              record(22, "\3\3", std::string(20'000, 'x')));
    add_bytes("record of no known type", "unexpected message", record(99, "\3\3", "what is it"));
    add_bytes("alert at once", no_suite, record(21, "\3\3", "\2\x28"));
    add_bytes("data before the handshake", "unexpected message", record(23, "\3\3", "hello"));
    add_bytes("a client's hello", "unexpected message",
              record(22, "\3\3", message(1, std::string(40, '\0'))));
    add_bytes("hello without contents", "length", record(22, "\3\3", message(2, "")));
    add_bytes("hello that is too long", "excessive message size",
              record(22, "\3\3", std::string("\2\xff\xff\xff", 4) + std::string(100, 'x')));
}

// ---- servers ------------------------------------------------------------------------------------

// Plays a case on a port of 127.0.0.1: whoever gets through the handshake and sends something is
// answered by HTTP, and the connection is closed.
class Server {
  public:
    explicit Server(const Case& c) : case_(c), listener_(listen_somewhere()) {
        if (c.bytes.empty()) context_ = Zoo::context(c);
        thread_ = std::thread([this] { run(); });
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        stopped_ = true;
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
    }
    int port() const { return port_; }
    // Handshakes that the server took for successful.
    int served() const { return served_; }

  private:
    int listen_somewhere() {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        // Safe because the socket calls take any address as a sockaddr.
        auto* any = reinterpret_cast<sockaddr*>(&address);
        require(fd >= 0 && ::bind(fd, any, size) == 0 && ::listen(fd, 16) == 0 &&
                    ::getsockname(fd, any, &size) == 0,
                "a port");
        port_ = ntohs(address.sin_port);
        return fd;
    }

    void run() {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
        while (!stopped_) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) break;
            const timeval patience{5, 0};
            ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            case_.bytes.empty() ? serve(fd) : say(fd);
            ::close(fd);
        }
        OPENSSL_thread_stop();
    }

    // Hangs up only when the client has, which would otherwise miss what was said.
    static void drain(int fd) {
        ::shutdown(fd, SHUT_WR);
        char buffer[4096];
        while (::recv(fd, buffer, sizeof buffer, 0) > 0) {
        }
    }

    void say(int fd) const {
        char hello[4096];
        (void)!::recv(fd, hello, sizeof hello, 0);
        (void)!::send(fd, case_.bytes.data(), case_.bytes.size(), MSG_NOSIGNAL);
        drain(fd);
    }

    // OpenSSL reads and writes memory, so that what passes can be changed.
    void serve(int fd) {
        const tls::SslPtr ssl(SSL_new(context_.get()));
        SSL* s = ssl.get();
        SSL_set_bio(s, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_accept_state(s);
        bool answered = false;
        bool counted = false;
        char buffer[16384];
        while (true) {
            int result = 1;
            if (!SSL_is_init_finished(s)) result = SSL_do_handshake(s);
            if (SSL_is_init_finished(s) && !std::exchange(counted, true)) ++served_;
            if (result == 1 && !answered) {
                result = SSL_read(s, buffer, sizeof buffer);
                if (result > 0) {
                    constexpr std::string_view kAnswer =
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                    SSL_write(s, kAnswer.data(), static_cast<int>(kAnswer.size()));
                    SSL_shutdown(s);
                    answered = true;
                }
            }
            const bool failed = result <= 0 && SSL_get_error(s, result) != SSL_ERROR_WANT_READ;
            ERR_clear_error();
            flush(fd, s);
            if (failed || answered) break;
            const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
            if (n <= 0) return;
            std::string in(buffer, static_cast<std::size_t>(n));
            if (case_.to_server) in = case_.to_server(std::move(in));
            BIO_write(SSL_get_rbio(s), in.data(), static_cast<int>(in.size()));
        }
        drain(fd);
    }
    void flush(int fd, SSL* s) const {
        char* bytes = nullptr;
        const long size = BIO_get_mem_data(SSL_get_wbio(s), &bytes);
        if (size <= 0) return;
        std::string out(bytes, static_cast<std::size_t>(size));
        (void)BIO_reset(SSL_get_wbio(s));
        if (case_.to_client) out = case_.to_client(std::move(out));
        (void)!::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
    }

    const Case& case_;
    int port_ = 0;
    int listener_;
    tls::SslCtxPtr context_;
    std::atomic<bool> stopped_{false};
    std::atomic<int> served_{0};
    std::thread thread_;
};

}  // namespace zoo
