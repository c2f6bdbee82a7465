// exceptions.hpp: parity rows XC-01 to XC-10. Texts were compared with CPython 3.13's.
#include <asyncio/exceptions.hpp>
#include <asyncio/traceback.hpp>

#include <gtest/gtest.h>

#include <netdb.h>
#include <cerrno>
#include <concepts>
#include <new>
#include <thread>

namespace {

using namespace asyncio;
using asyncio::format_exception;
using asyncio::detail::cancelled_error;
using asyncio::detail::describe;
using asyncio::detail::holds;
using asyncio::detail::is_base_exception;
using asyncio::detail::is_cancelled_error;
using asyncio::detail::is_exit_error;
using asyncio::detail::quoted;
using asyncio::detail::type_name;

template <class E>
std::exception_ptr ptr(E error) {
    return std::make_exception_ptr(std::move(error));
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const BaseException& e) {
        return e.what();
    } catch (const std::exception& e) {
        return e.what();
    }
}

// Classes that a program may define for itself.
class BaseError : public BaseException {
  public:
    using BaseException::BaseException;
};

class MyCancelled : public CancelledError {
  public:
    using CancelledError::CancelledError;
};

class MyInterrupt : public KeyboardInterrupt {};

struct Unrelated {
    int value = 1;
};

template <class T>
struct Wrapped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Calls `check.operator()<E>()` for each of the classes: one test, not one for each class, since
// each test runs in a process of its own.
template <class... E>
struct Classes {
    template <class Check>
    static void check(Check check) {
        (check_one<E>(check), ...);
    }

  private:
    template <class Class, class Check>
    static void check_one(Check& check) {
        SCOPED_TRACE(type_name(ptr(Class("x"))));
        check.template operator()<Class>();
    }
};

// IncompleteReadError and LimitOverrunError are not made from nothing, in Python neither.
using NeedsArguments = Classes<IncompleteReadError, LimitOverrunError>;
using DefaultMade =
    Classes<BaseException, CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit,
            RuntimeError, ValueError, TypeError, LookupError, KeyError, NotImplementedError,
            StopAsyncIteration, EOFError, InvalidStateError, DeadlockError,
            SendfileNotAvailableError, BrokenBarrierError, QueueEmpty, QueueFull, QueueShutDown,
            OSError, BlockingIOError, ChildProcessError, ConnectionError, BrokenPipeError,
            ConnectionAbortedError, ConnectionRefusedError, ConnectionResetError, FileExistsError,
            FileNotFoundError, InterruptedError, IsADirectoryError, NotADirectoryError,
            PermissionError, ProcessLookupError, TimeoutError, AddressInUseError, gaierror,
            SSLError, SSLCertVerificationError>;

template <class Check>
void check_every_error(Check check) {
    NeedsArguments::check(check);
    DefaultMade::check(check);
}

TEST(EveryError, SaysExactlyTheStringItWasMadeFrom) {
    check_every_error([]<class E>() {
        EXPECT_STREQ(E("some text").what(), "some text");
        EXPECT_STREQ(E(std::string("text: 100 %")).what(), "text: 100 %");
    });
}

// What an error of this class says that was given no text.
template <class E>
std::string bare_text() {
    if constexpr (std::is_same_v<E, BaseException> || std::is_same_v<E, CancelledError> ||
                  std::is_same_v<E, SystemExit>) {
        return "";
    } else {
        return type_name(ptr(E("")));
    }
}

TEST(EveryError, SaysItsClassWhenMadeFromNothing) {  // N12.
    check_every_error([]<class E>() {
        EXPECT_EQ(E("").what(), bare_text<E>());
        EXPECT_EQ(describe(ptr(E(""))), type_name(ptr(E(""))) + "()");
        EXPECT_EQ(format_exception(ptr(E(""))), type_name(ptr(E(""))));
        EXPECT_EQ(asyncio::detail::text_of(ptr(E(""))), "");
    });
    DefaultMade::check([]<class E>() {
        EXPECT_EQ(E().what(), bare_text<E>());
        EXPECT_EQ(describe(ptr(E())), type_name(ptr(E())) + "()");
    });
    // A text that reads alike is a text.
    EXPECT_EQ(describe(ptr(ValueError("ValueError"))), "ValueError('ValueError')");
    EXPECT_EQ(describe(ptr(TimeoutError("TimeoutError"))), "TimeoutError('TimeoutError')");
    EXPECT_STREQ(OSError(EPIPE, "").what(), "[Errno 32] ");
}

struct OwnError : RuntimeError {
    using RuntimeError::RuntimeError;
};

TEST(EveryError, OfAUsersClassIsReportedWithoutText) {  // N12.
    EXPECT_STREQ(OwnError().what(), "RuntimeError");
    EXPECT_EQ(describe(ptr(OwnError())), "OwnError()");
    EXPECT_EQ(format_exception(ptr(OwnError())), "OwnError");
}

TEST(EveryError, IsNotMadeFromAStringByAccident) {
    check_every_error([]<class E>() {
        EXPECT_FALSE((std::convertible_to<std::string, E>));
        EXPECT_FALSE((std::convertible_to<const char*, E>));
    });
}

TEST(EveryError, CrossesAsExceptionPtrAndKeepsItsClass) {
    check_every_error([]<class E>() {
        std::exception_ptr error = ptr(E("carried"));
        EXPECT_TRUE(holds<E>(error));
        EXPECT_EQ(text_of(error), "carried");
        EXPECT_THROW(std::rethrow_exception(error), E);
    });
}

TEST(EveryError, HasExactlyOneOfTheTwoRoots) {
    check_every_error([]<class E>() {
        const bool is_base = std::derived_from<E, BaseException>;
        const bool is_ordinary = std::derived_from<E, std::exception>;
        EXPECT_NE(is_base, is_ordinary);
        EXPECT_EQ(is_base_exception(ptr(E("x"))), is_base);
    });
}

TEST(EveryError, KeepsItsTextWhenCopied) {
    check_every_error([]<class E>() {
        E first("first");
        E copy = first;
        EXPECT_STREQ(copy.what(), "first");
        copy = E("second");
        EXPECT_STREQ(copy.what(), "second");
        EXPECT_STREQ(first.what(), "first");
    });
}

TEST(EveryError, IsCopiedWithoutThrowing) {
    check_every_error([]<class E>() {
        const bool has_bytes = std::same_as<E, IncompleteReadError>;  // A std::string of its own.
        EXPECT_NE(std::is_nothrow_copy_constructible_v<E>, has_bytes);
        EXPECT_NE(std::is_nothrow_copy_assignable_v<E>, has_bytes);
    });
}

TEST(EveryError, CanBeLookedAtAfterAMove) {
    check_every_error([]<class E>() {
        E first("first");
        E second = std::move(first);
        EXPECT_STREQ(second.what(), "first");
        EXPECT_NE(first.what(), nullptr);
    });
}

TEST(EveryError, DescribesItselfByItsNameAndText) {
    check_every_error([]<class E>() {
        std::exception_ptr error = ptr(E("a text"));
        EXPECT_EQ(describe(error), type_name(error) + "('a text')");
    });
}

TEST(EveryError, TakesACauseAndKeepsItsName) {
    check_every_error([]<class E>() {
        std::exception_ptr error = with_cause(E("a text"), ptr(1));
        EXPECT_TRUE(holds<E>(error));
        EXPECT_EQ(describe(error), describe(ptr(E("a text"))));
        EXPECT_EQ(describe(cause_of(error)), "int(1)");
    });
}

// ---- Hierarchy ----

TEST(Hierarchy, CancellationIsNoStdException) {  // XC-01
    EXPECT_FALSE((std::derived_from<CancelledError, std::exception>));
    EXPECT_TRUE((std::derived_from<CancelledError, BaseException>));
    bool swallowed = false;
    try {
        try {
            throw CancelledError("stop");
        } catch (const std::exception&) {
            swallowed = true;
        }
    } catch (const BaseException& e) {
        EXPECT_STREQ(e.what(), "stop");
        EXPECT_EQ(e.message(), "stop");
    }
    EXPECT_FALSE(swallowed);
}

TEST(Hierarchy, IsThatOfPython) {  // XC-02 to XC-07, XC-09
    EXPECT_TRUE((std::derived_from<KeyError, LookupError>));
    EXPECT_TRUE((std::derived_from<NotImplementedError, RuntimeError>));
    EXPECT_TRUE((std::derived_from<DeadlockError, RuntimeError>));
    EXPECT_TRUE((std::derived_from<SendfileNotAvailableError, RuntimeError>));
    EXPECT_TRUE((std::derived_from<BrokenBarrierError, RuntimeError>));
    EXPECT_TRUE((std::derived_from<IncompleteReadError, EOFError>));
    EXPECT_TRUE((std::derived_from<TimeoutError, OSError>));
    EXPECT_TRUE((std::derived_from<BrokenPipeError, ConnectionError>));
    EXPECT_TRUE((std::derived_from<ConnectionAbortedError, ConnectionError>));
    EXPECT_TRUE((std::derived_from<ConnectionRefusedError, ConnectionError>));
    EXPECT_TRUE((std::derived_from<ConnectionResetError, ConnectionError>));
    EXPECT_TRUE((std::derived_from<ConnectionError, OSError>));
    EXPECT_TRUE((std::derived_from<AddressInUseError, OSError>));
    EXPECT_TRUE((std::derived_from<gaierror, OSError>));
    EXPECT_TRUE((std::derived_from<SSLCertVerificationError, SSLError>));
    EXPECT_TRUE((std::derived_from<SSLError, OSError>));
    EXPECT_FALSE((std::derived_from<InvalidStateError, RuntimeError>));
    EXPECT_FALSE((std::derived_from<QueueEmpty, RuntimeError>));
    EXPECT_FALSE((std::derived_from<LimitOverrunError, EOFError>));
}

TEST(Hierarchy, MeetsTheStandardClassesThatMeanTheSame) {
    EXPECT_TRUE((std::derived_from<RuntimeError, std::runtime_error>));
    EXPECT_TRUE((std::derived_from<ValueError, std::invalid_argument>));
    EXPECT_TRUE((std::derived_from<OSError, std::system_error>));
}

// ---- Single classes ----

TEST(SystemExitTest, HasTheCodeOrTheText) {  // XC-09
    EXPECT_EQ(SystemExit().code(), 0);
    EXPECT_EQ(SystemExit(3).code(), 3);
    EXPECT_STREQ(SystemExit(3).what(), "3");
    EXPECT_FALSE(SystemExit(3).has_text());
    EXPECT_EQ(SystemExit("bye").code(), 1);
    EXPECT_TRUE(SystemExit("bye").has_text());
    EXPECT_EQ(describe(ptr(SystemExit(3))), "SystemExit(3)");
    EXPECT_EQ(describe(ptr(SystemExit("3"))), "SystemExit('3')");
}

TEST(IncompleteReadErrorTest, SaysHowManyBytesOfHowMany) {  // XC-04
    IncompleteReadError some("ab", 5);
    EXPECT_STREQ(some.what(), "2 bytes read on a total of 5 expected bytes");
    EXPECT_EQ(some.partial, "ab");
    EXPECT_EQ(some.expected, 5u);

    IncompleteReadError any(std::string("a\0b", 3), std::nullopt);
    EXPECT_STREQ(any.what(), "3 bytes read on a total of undefined expected bytes");
    EXPECT_EQ(any.partial.size(), 3u);
    EXPECT_EQ(any.expected, std::nullopt);
}

TEST(LimitOverrunErrorTest, KeepsTheNumberOfConsumedBytes) {  // XC-05
    LimitOverrunError error("Separator is not found, and chunk exceed the limit", 7);
    EXPECT_EQ(error.consumed, 7u);
    EXPECT_STREQ(error.what(), "Separator is not found, and chunk exceed the limit");
    EXPECT_EQ(LimitOverrunError("x").consumed, 0u);
}

template <class E>
void expect_usual(int number) {
    EXPECT_EQ(E().code(), std::error_code(number, std::generic_category()));
    EXPECT_EQ(E("text").code().value(), number);
}

TEST(OSErrorTest, HasItsUsualErrnoWhenMadeFromAString) {
    expect_usual<BlockingIOError>(EAGAIN);
    expect_usual<ChildProcessError>(ECHILD);
    expect_usual<BrokenPipeError>(EPIPE);
    expect_usual<ConnectionAbortedError>(ECONNABORTED);
    expect_usual<ConnectionRefusedError>(ECONNREFUSED);
    expect_usual<ConnectionResetError>(ECONNRESET);
    expect_usual<FileExistsError>(EEXIST);
    expect_usual<FileNotFoundError>(ENOENT);
    expect_usual<InterruptedError>(EINTR);
    expect_usual<IsADirectoryError>(EISDIR);
    expect_usual<NotADirectoryError>(ENOTDIR);
    expect_usual<PermissionError>(EACCES);
    expect_usual<ProcessLookupError>(ESRCH);
    expect_usual<TimeoutError>(ETIMEDOUT);
    expect_usual<AddressInUseError>(EADDRINUSE);
    expect_usual<OSError>(EIO);
    expect_usual<ConnectionError>(EIO);
    EXPECT_EQ(TimeoutError().code(), std::errc::timed_out);
}

TEST(OSErrorTest, PrintsNumberTextAndFileAsPython) {
    EXPECT_STREQ(OSError(111, "Connect call failed").what(), "[Errno 111] Connect call failed");
    EXPECT_STREQ(OSError(5, "").what(), "[Errno 5] ");
    EXPECT_STREQ(TimeoutError(ETIMEDOUT, "late").what(), "[Errno 110] late");
    FileNotFoundError missing(2, "No such file or directory", "a'b");
    EXPECT_STREQ(missing.what(), "[Errno 2] No such file or directory: \"a'b\"");
    EXPECT_EQ(missing.strerror(), "No such file or directory");
    EXPECT_EQ(missing.filename(), "a'b");
    EXPECT_EQ(missing.code().value(), 2);
    EXPECT_EQ(describe(ptr(missing)), "FileNotFoundError(2, 'No such file or directory')");
}

TEST(OSErrorTest, MadeFromAStringHasNoNumberOfItsOwn) {
    EXPECT_FALSE(OSError("x").has_number());
    EXPECT_EQ(OSError("x").strerror(), "");
    EXPECT_TRUE(OSError(1, "x").has_number());
    EXPECT_FALSE(OSError().has_number());
}

template <class E>
void expect_class(int number) {
    std::exception_ptr error = make_os_error(number, "text");
    EXPECT_TRUE(holds<E>(error)) << number;
    EXPECT_EQ(describe(error), type_name(ptr(E())) + "(" + std::to_string(number) + ", 'text')");
    EXPECT_EQ(text_of(error), "[Errno " + std::to_string(number) + "] text");
}

TEST(OSErrorTest, MakeOsErrorChoosesTheClass) {
    expect_class<BlockingIOError>(EAGAIN);
    expect_class<BlockingIOError>(EWOULDBLOCK);
    expect_class<BlockingIOError>(EALREADY);
    expect_class<BlockingIOError>(EINPROGRESS);
    expect_class<ChildProcessError>(ECHILD);
    expect_class<BrokenPipeError>(EPIPE);
    expect_class<BrokenPipeError>(ESHUTDOWN);
    expect_class<ConnectionAbortedError>(ECONNABORTED);
    expect_class<ConnectionRefusedError>(ECONNREFUSED);
    expect_class<ConnectionResetError>(ECONNRESET);
    expect_class<FileExistsError>(EEXIST);
    expect_class<FileNotFoundError>(ENOENT);
    expect_class<InterruptedError>(EINTR);
    expect_class<IsADirectoryError>(EISDIR);
    expect_class<NotADirectoryError>(ENOTDIR);
    expect_class<PermissionError>(EACCES);
    expect_class<PermissionError>(EPERM);
    expect_class<ProcessLookupError>(ESRCH);
    expect_class<TimeoutError>(ETIMEDOUT);
    expect_class<AddressInUseError>(EADDRINUSE);
    expect_class<OSError>(EBADF);
    expect_class<OSError>(12345);
}

TEST(OSErrorTest, MakeOsErrorTakesTheSystemsTextAndAFile) {
    EXPECT_EQ(text_of(make_os_error(ENOENT)), "[Errno 2] No such file or directory");
    EXPECT_EQ(text_of(make_os_error(ENOENT, "No such file", "/x")), "[Errno 2] No such file: '/x'");
    // N22. An empty name is one, as in CPython.
    EXPECT_EQ(text_of(make_os_error(ENOENT, "No such file", "")), "[Errno 2] No such file: ''");
    EXPECT_EQ(text_of(make_os_error(ENOENT, "No such file", {})), "[Errno 2] No such file");
}

TEST(GaierrorTest, HasTheNumbersOfGetaddrinfo) {
    gaierror error(EAI_NONAME, "Name or service not known");
    EXPECT_STREQ(error.what(), "[Errno -2] Name or service not known");
    EXPECT_EQ(error.code(), std::error_code(EAI_NONAME, gai_category()));
    EXPECT_STREQ(error.code().category().name(), "getaddrinfo");
    EXPECT_EQ(error.code().message(), "Name or service not known");
    EXPECT_EQ(describe(ptr(error)), "gaierror(-2, 'Name or service not known')");
    EXPECT_EQ(gaierror("x").code().category(), gai_category());
}

TEST(SSLErrorTest, PrintsItsTextAlone) {
    SSLCertVerificationError error(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed");
    EXPECT_STREQ(error.what(), "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed");
    EXPECT_EQ(error.code(), std::error_code(1, ssl_category()));
    EXPECT_EQ(describe(ptr(SSLError(1, "x"))), "SSLError(1, 'x')");
    EXPECT_TRUE(holds<SSLError>(ptr(error)));
}

// ---- Looking without a throw ----

TEST(Matching, FindsTheClassAndItsBases) {
    std::exception_ptr error = ptr(ConnectionResetError("x"));
    EXPECT_TRUE(holds<ConnectionResetError>(error));
    EXPECT_TRUE(holds<ConnectionError>(error));
    EXPECT_TRUE(holds<OSError>(error));
    EXPECT_TRUE(holds<std::system_error>(error));
    EXPECT_TRUE(holds<std::exception>(error));
    EXPECT_FALSE(holds<ConnectionAbortedError>(error));
    EXPECT_FALSE(holds<BaseException>(error));
    EXPECT_FALSE(holds<int>(error));
}

TEST(Matching, FindsTheRightAddressInAnObjectWithSeveralBases) {
    struct Left {
        virtual ~Left() = default;
        int left = 1;
    };
    struct Right {
        virtual ~Right() = default;
        int right = 2;
    };
    struct Both : Left, Right {};
    std::exception_ptr error = ptr(Both());
    const Right* right = detail::find<Right>(error);
    ASSERT_NE(right, nullptr);
    EXPECT_EQ(right->right, 2);
    EXPECT_EQ(detail::find<Left>(error)->left, 1);
    EXPECT_EQ(detail::find<Both>(error)->right, 2);
}

TEST(Matching, GivesTheObjectThatAHandlerWouldSee) {
    std::exception_ptr error = ptr(ValueError("x"));
    try {
        std::rethrow_exception(error);
    } catch (const std::invalid_argument& e) {
        EXPECT_EQ(detail::find<std::invalid_argument>(error), &e);
    }
}

TEST(Matching, FollowsTheRulesOfCatchForAmbiguousAndPrivateBases) {
    struct Root {};
    struct A : Root {};
    struct B : Root {};
    struct Ambiguous : A, B {};
    struct Hidden : private Root {};
    EXPECT_FALSE(holds<Root>(ptr(Ambiguous())));
    EXPECT_FALSE(holds<Root>(ptr(Hidden())));
    EXPECT_TRUE(holds<A>(ptr(Ambiguous())));
}

TEST(Matching, HandlesWhatIsNoClass) {
    EXPECT_EQ(*detail::find<int>(ptr(42)), 42);
    EXPECT_FALSE(holds<long>(ptr(42)));
    EXPECT_FALSE(holds<std::exception>(ptr(42)));
    const char* text = "thrown text";
    EXPECT_FALSE(holds<std::exception>(ptr(text)));
    EXPECT_FALSE(holds<int>(ptr(text)));
    EXPECT_FALSE(holds<int>(nullptr));
}

TEST(Matching, TellsCancellationExitAndOrdinaryErrorsApart) {  // XC-01, XC-09
    EXPECT_TRUE(is_cancelled_error(ptr(CancelledError())));
    EXPECT_TRUE(is_cancelled_error(ptr(MyCancelled("x"))));
    EXPECT_FALSE(is_cancelled_error(ptr(BaseException())));
    EXPECT_FALSE(is_cancelled_error(ptr(RuntimeError())));
    EXPECT_FALSE(is_cancelled_error(nullptr));

    EXPECT_TRUE(is_exit_error(ptr(KeyboardInterrupt())));
    EXPECT_TRUE(is_exit_error(ptr(SystemExit(1))));
    EXPECT_TRUE(is_exit_error(ptr(MyInterrupt())));
    EXPECT_FALSE(is_exit_error(ptr(CancelledError())));
    EXPECT_FALSE(is_exit_error(ptr(GeneratorExit())));
    EXPECT_FALSE(is_exit_error(nullptr));

    EXPECT_TRUE(is_base_exception(ptr(BaseError())));
    EXPECT_FALSE(is_base_exception(ptr(Unrelated())));
    EXPECT_FALSE(is_base_exception(ptr(1)));
    EXPECT_FALSE(is_base_exception(nullptr));
    EXPECT_FALSE(is_base_exception(ptr(ExceptionGroup("g", {ptr(ValueError())}))));
    EXPECT_TRUE(is_base_exception(ptr(BaseExceptionGroup("g", {ptr(CancelledError())}))));
}

TEST(Matching, ACancelledErrorWithoutMessageIsShared) {
    EXPECT_EQ(cancelled_error(nullptr), cancelled_error(nullptr));
    EXPECT_TRUE(is_cancelled_error(cancelled_error(nullptr)));
    EXPECT_EQ(text_of(cancelled_error(nullptr)), "");
    std::string message = "because";
    std::exception_ptr error = cancelled_error(&message);
    EXPECT_TRUE(is_cancelled_error(error));
    EXPECT_EQ(text_of(error), "because");
}

TEST(Matching, TheSharedCancelledErrorMayBeThrownInTwoThreadsAtOnce) {
    auto throw_often = [] {
        for (int i = 0; i < 1000; ++i) {
            try {
                std::rethrow_exception(cancelled_error(nullptr));
            } catch (const CancelledError& e) {
                ASSERT_EQ(e.message(), "");
            }
        }
    };
    std::thread other(throw_often);
    throw_often();
    other.join();
}

// ---- Texts ----

TEST(Texts, QuoteAsPython) {
    EXPECT_EQ(quoted("a"), "'a'");
    EXPECT_EQ(quoted(""), "''");
    EXPECT_EQ(quoted("it's"), "\"it's\"");
    EXPECT_EQ(quoted("say \"a\""), "'say \"a\"'");
    EXPECT_EQ(quoted("it's \"a\""), "'it\\'s \"a\"'");
    EXPECT_EQ(quoted("a\nb\tc\rd\\e"), "'a\\nb\\tc\\rd\\\\e'");
    EXPECT_EQ(quoted(std::string_view("\x00\x01\x7f", 3)), "'\\x00\\x01\\x7f'");
    EXPECT_EQ(quoted("\xc3\xa4"), "'\xc3\xa4'");
}

TEST(Texts, DescribeLikeRepr) {
    EXPECT_EQ(describe(ptr(ValueError("it's"))), "ValueError(\"it's\")");
    EXPECT_EQ(describe(ptr(CancelledError())), "CancelledError()");
    EXPECT_EQ(describe(ptr(KeyError("k"))), "KeyError('k')");
    EXPECT_EQ(describe(ptr(BaseError("b"))), "BaseError('b')");
    EXPECT_EQ(describe(nullptr), "None");
}

TEST(Texts, DescribeForeignTypes) {
    EXPECT_EQ(describe(ptr(std::runtime_error("r"))), "runtime_error('r')");
    EXPECT_EQ(describe(ptr(std::bad_alloc())), "bad_alloc()");
    EXPECT_EQ(describe(ptr(std::exception())), "exception()");
    EXPECT_EQ(describe(ptr(42)), "int(42)");
    EXPECT_EQ(describe(ptr(-42L)), "long(-42)");
    EXPECT_EQ(describe(ptr(std::string("s"))), "string('s')");
    EXPECT_EQ(describe(ptr(static_cast<const char*>("c"))), "char const*('c')");
    EXPECT_EQ(describe(ptr(static_cast<const char*>(nullptr))), "char const*()");
    EXPECT_EQ(describe(ptr(Unrelated())), "Unrelated()");
    EXPECT_EQ(describe(ptr(Wrapped<std::exception>("w"))), "Wrapped<std::exception>('w')");
    struct Local : std::runtime_error {
        using std::runtime_error::runtime_error;
    };
    EXPECT_EQ(describe(ptr(Local("l"))), "Local('l')");
}

TEST(Texts, FormatIsTheLastLineOfATraceback) {
    EXPECT_EQ(format_exception(ptr(ValueError("msg"))), "ValueError: msg");
    EXPECT_EQ(format_exception(ptr(TimeoutError())), "TimeoutError");
    EXPECT_EQ(format_exception(ptr(KeyError("k"))), "KeyError: 'k'");
    EXPECT_EQ(format_exception(ptr(KeyError())), "KeyError");
    EXPECT_EQ(format_exception(make_os_error(2, "No such file")),
              "FileNotFoundError: [Errno 2] No such file");
    EXPECT_EQ(format_exception(ptr(42)), "int: 42");
    EXPECT_EQ(format_exception(nullptr), "None");
}

// Line for line what CPython's traceback.print_exception prints.
TEST(Texts, FormatDrawsGroupsAndCausesAsPython) {  // XC-08, XC-10
    std::exception_ptr inner =
        BaseExceptionGroup::make("inner", {ptr(KeyError("k")), ptr(ValueError("two\nlines"))});
    std::exception_ptr timeout = with_cause(TimeoutError("late"), ptr(CancelledError("stop")));
    std::exception_ptr group = BaseExceptionGroup::make("outer", {inner, timeout});
    EXPECT_EQ(format_exception(group),
              "  | ExceptionGroup: outer (2 sub-exceptions)\n"
              "  +-+---------------- 1 ----------------\n"
              "    | ExceptionGroup: inner (2 sub-exceptions)\n"
              "    +-+---------------- 1 ----------------\n"
              "      | KeyError: 'k'\n"
              "      +---------------- 2 ----------------\n"
              "      | ValueError: two\n"
              "      | lines\n"
              "      +------------------------------------\n"
              "    +---------------- 2 ----------------\n"
              "    | CancelledError: stop\n"
              "    | \n"
              "    | The above exception was the direct cause of the following exception:\n"
              "    | \n"
              "    | TimeoutError: late\n"
              "    +------------------------------------");
}

TEST(Texts, FormatPutsTheCauseOfAGroupBeforeIt) {  // XC-10
    const auto group =
        with_cause(ExceptionGroup("g", {ptr(ValueError("v"))}), ptr(RuntimeError("why")));
    const std::string text =
        "RuntimeError: why\n"
        "\n"
        "The above exception was the direct cause of the following exception:\n"
        "\n"
        "  | ExceptionGroup: g (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | ValueError: v\n"
        "    +------------------------------------";
    EXPECT_EQ(format_exception(group), text);
    EXPECT_EQ(format_exception(with_cause(TypeError("top"), group)),
              text +
                  "\n\nThe above exception was the direct cause of the following exception:\n\n"
                  "TypeError: top");
    std::exception_ptr nested;
    try {
        try {
            throw std::invalid_argument("inner");
        } catch (...) {
            std::throw_with_nested(std::runtime_error("outer"));
        }
    } catch (...) {
        nested = std::current_exception();
    }
    EXPECT_EQ(format_exception(nested),
              "invalid_argument: inner\n\n"
              "The above exception was the direct cause of the following exception:\n\n"
              "runtime_error: outer");
}

TEST(Texts, FormatShowsAtMost15MembersOfAGroupAnd10GroupsWithinEachOther) {
    std::vector<std::exception_ptr> many;
    for (int i = 0; i < 17; ++i) many.push_back(ptr(KeyError(std::to_string(i))));
    const std::string wide = format_exception(BaseExceptionGroup::make("wide", many));
    EXPECT_TRUE(
        wide.ends_with("    +---------------- 15 ----------------\n"
                       "    | KeyError: '14'\n"
                       "    +---------------- ... ----------------\n"
                       "    | and 2 more exceptions\n"
                       "    +------------------------------------"))
        << wide;
    many.pop_back();
    EXPECT_NE(
        format_exception(BaseExceptionGroup::make("wide", many)).find("and 1 more exception\n"),
        std::string::npos);
    std::exception_ptr nest = ptr(ValueError("innermost"));
    for (int i = 0; i < 10; ++i) nest = BaseExceptionGroup::make("g", {nest});
    EXPECT_NE(format_exception(nest).find("ValueError: innermost"), std::string::npos);
    nest = BaseExceptionGroup::make("g", {nest});
    EXPECT_TRUE(format_exception(nest).ends_with("| ... (max_group_depth is 10)\n" +
                                                 std::string(22, ' ') +
                                                 "+------------------------------------"))
        << format_exception(nest);
    // What could be as long as a file of the system is not.
    std::exception_ptr bush = ptr(ValueError("leaf"));
    for (int i = 0; i < 10; ++i) {
        bush = BaseExceptionGroup::make("g", std::vector<std::exception_ptr>(15, bush));
    }
    EXPECT_LT(format_exception(bush).size(), 10'000'000U);
}

// ---- Groups ----

std::exception_ptr nested_group() {
    std::exception_ptr inner =
        BaseExceptionGroup::make("inner", {ptr(ValueError("b")), ptr(KeyError("k"))});
    return BaseExceptionGroup::make("outer", {ptr(ValueError("a")), inner, ptr(RuntimeError("r"))});
}

TEST(Groups, SayTheirMessageAndTheNumberOfMembers) {  // XC-08
    ExceptionGroup one("m", {ptr(ValueError())});
    ExceptionGroup two("m", {ptr(ValueError()), ptr(TypeError())});
    EXPECT_EQ(one.message(), "m");
    EXPECT_STREQ(one.what(), "m (1 sub-exception)");
    EXPECT_STREQ(two.what(), "m (2 sub-exceptions)");
    EXPECT_EQ(two.exceptions().size(), 2u);
    EXPECT_EQ(describe(nested_group()),
              "ExceptionGroup('outer', [ValueError('a'), ExceptionGroup('inner', "
              "[ValueError('b'), KeyError('k')]), RuntimeError('r')])");
}

template <class E, class F>
std::string text_thrown_by(F&& f) {
    try {
        f();
    } catch (const E& e) {
        return e.what();
    }
    return "nothing thrown";
}

TEST(Groups, RefuseNoMembersAndNullMembers) {
    const char* empty = "second argument (exceptions) must be a non-empty sequence";
    EXPECT_EQ(text_thrown_by<ValueError>([] { ExceptionGroup("m", {}); }), empty);
    EXPECT_EQ(text_thrown_by<ValueError>([] { BaseExceptionGroup("m", {}); }), empty);
    EXPECT_EQ(text_thrown_by<ValueError>([] { BaseExceptionGroup::make("m", {}); }), empty);
    const char* null = "Item 1 of second argument (exceptions) is not an exception";
    std::vector<std::exception_ptr> members = {ptr(ValueError()), nullptr};
    EXPECT_EQ(text_thrown_by<ValueError>([&] { ExceptionGroup("m", members); }), null);
    EXPECT_EQ(text_thrown_by<ValueError>([&] { BaseExceptionGroup::make("m", members); }), null);
}

TEST(Groups, AnExceptionGroupRefusesBaseExceptions) {
    const char* text = "Cannot nest BaseExceptions in an ExceptionGroup";
    EXPECT_EQ(text_thrown_by<TypeError>([] { ExceptionGroup("m", {ptr(KeyboardInterrupt())}); }),
              text);
    std::exception_ptr base = ptr(BaseExceptionGroup("n", {ptr(CancelledError())}));
    EXPECT_EQ(text_thrown_by<TypeError>([&] { ExceptionGroup("m", {base}); }), text);
}

TEST(Groups, AnExceptionGroupIsCaughtByEachOfItsBases) {
    auto thrown = [] { throw ExceptionGroup("m", {ptr(ValueError())}); };
    EXPECT_EQ(text_thrown_by<std::exception>(thrown), "m (1 sub-exception)");
    EXPECT_EQ(text_thrown_by<BaseException>(thrown), "m (1 sub-exception)");
    EXPECT_EQ(text_thrown_by<BaseExceptionGroup>(thrown), "m (1 sub-exception)");
    EXPECT_EQ(text_thrown_by<ExceptionGroup>(thrown), "m (1 sub-exception)");
}

TEST(Groups, ABaseExceptionGroupIsNoStdException) {
    EXPECT_FALSE((std::derived_from<BaseExceptionGroup, std::exception>));
    EXPECT_FALSE(holds<std::exception>(ptr(BaseExceptionGroup("m", {ptr(CancelledError())}))));
}

TEST(Groups, MakeChoosesTheClassByTheMembers) {
    EXPECT_TRUE(holds<ExceptionGroup>(BaseExceptionGroup::make("m", {ptr(ValueError())})));
    EXPECT_TRUE(holds<ExceptionGroup>(BaseExceptionGroup::make("m", {ptr(1), nested_group()})));
    std::exception_ptr mixed =
        BaseExceptionGroup::make("m", {ptr(ValueError()), ptr(BaseError("b"))});
    EXPECT_TRUE(holds<BaseExceptionGroup>(mixed));
    EXPECT_FALSE(holds<ExceptionGroup>(mixed));
    EXPECT_FALSE(holds<ExceptionGroup>(BaseExceptionGroup::make("m", {mixed})));
    EXPECT_EQ(describe(mixed), "BaseExceptionGroup('m', [ValueError(), BaseError('b')])");
}

TEST(Groups, RaiseThrowsTheRightClass) {
    EXPECT_THROW(BaseExceptionGroup("m", {ptr(ValueError())}).raise(), ExceptionGroup);
    bool was_ordinary = false;
    try {
        BaseExceptionGroup("m", {ptr(CancelledError())}).raise();
    } catch (const ExceptionGroup&) {
        was_ordinary = true;
    } catch (const BaseExceptionGroup& e) {
        EXPECT_STREQ(e.what(), "m (1 sub-exception)");
    }
    EXPECT_FALSE(was_ordinary);
}

TEST(Groups, SplitKeepsTheStructure) {  // XC-08
    std::exception_ptr error = nested_group();
    const auto& group = *detail::find<ExceptionGroup>(error);
    auto [match, rest] = group.split<ValueError>();
    static_assert(std::same_as<decltype(match), std::optional<ExceptionGroup>>);
    ASSERT_TRUE(match && rest);
    EXPECT_EQ(describe(ptr(*match)),
              "ExceptionGroup('outer', [ValueError('a'), ExceptionGroup('inner', "
              "[ValueError('b')])])");
    EXPECT_EQ(describe(ptr(*rest)),
              "ExceptionGroup('outer', [ExceptionGroup('inner', [KeyError('k')]), "
              "RuntimeError('r')])");
}

TEST(Groups, SubgroupIsEmptyWhenNothingMatches) {
    std::exception_ptr error = nested_group();
    const auto& group = *detail::find<ExceptionGroup>(error);
    EXPECT_FALSE(group.subgroup<TypeError>());
    auto [match, rest] = group.split<TypeError>();
    EXPECT_FALSE(match);
    EXPECT_EQ(describe(ptr(*rest)), describe(error));
}

TEST(Groups, SubgroupMatchesBasesAndSeveralClasses) {
    std::exception_ptr error = nested_group();
    const auto& group = *detail::find<ExceptionGroup>(error);
    EXPECT_EQ(describe(ptr(*group.subgroup<LookupError>())),
              "ExceptionGroup('outer', [ExceptionGroup('inner', [KeyError('k')])])");
    auto several = group.subgroup<KeyError, RuntimeError>();
    EXPECT_EQ(describe(ptr(*several)),
              "ExceptionGroup('outer', [ExceptionGroup('inner', [KeyError('k')]), "
              "RuntimeError('r')])");
}

TEST(Groups, AGroupThatMatchesAsAWholeStaysWhole) {
    std::exception_ptr error = nested_group();
    const auto& group = *detail::find<ExceptionGroup>(error);
    EXPECT_EQ(describe(ptr(*group.subgroup<ExceptionGroup>())), describe(error));
    auto [match, rest] = group.split<std::exception>();
    EXPECT_EQ(describe(ptr(*match)), describe(error));
    EXPECT_FALSE(rest);
}

TEST(Groups, ANestedGroupOnOneSideKeepsItsIdentity) {
    std::exception_ptr inner = BaseExceptionGroup::make("inner", {ptr(ValueError("b"))});
    ExceptionGroup group("outer", {inner, ptr(TypeError("t"))});
    auto [match, rest] = group.split<ValueError>();
    ASSERT_TRUE(match && rest);
    EXPECT_EQ(match->exceptions().at(0), inner);
    auto [types, values] = group.split<TypeError>();
    ASSERT_TRUE(types && values);
    EXPECT_EQ(values->exceptions().at(0), inner);
}

bool is_inner_group(const std::exception_ptr& error) {
    const auto* group = detail::find<BaseExceptionGroup>(error);
    return group && group->message() == "inner";
}

TEST(Groups, SplitByPredicateAsksAboutGroupsBeforeTheirMembers) {
    std::exception_ptr error = nested_group();
    const auto& group = *detail::find<ExceptionGroup>(error);
    EXPECT_EQ(describe(ptr(*group.subgroup(is_inner_group))),
              "ExceptionGroup('outer', [ExceptionGroup('inner', [ValueError('b'), "
              "KeyError('k')])])");

    std::vector<std::string> asked;
    auto [match, rest] = group.split([&](const std::exception_ptr& e) {
        asked.push_back(type_name(e));
        return holds<RuntimeError>(e);
    });
    EXPECT_EQ(describe(ptr(*match)), "ExceptionGroup('outer', [RuntimeError('r')])");
    EXPECT_EQ(rest->exceptions().size(), 2u);
    EXPECT_EQ(asked, (std::vector<std::string>{"ExceptionGroup", "ValueError", "ExceptionGroup",
                                               "ValueError", "KeyError", "RuntimeError"}));
}

TEST(Groups, PartsOfABaseExceptionGroupAreRaisedAsTheirRightClass) {
    BaseExceptionGroup group("m", {ptr(KeyboardInterrupt()), ptr(ValueError("v"))});
    auto [match, rest] = group.split<ValueError>();
    static_assert(std::same_as<decltype(match), std::optional<BaseExceptionGroup>>);
    ASSERT_TRUE(match && rest);
    EXPECT_THROW(match->raise(), ExceptionGroup);
    EXPECT_THROW(throw *match, BaseExceptionGroup);
    try {
        rest->raise();
    } catch (const std::exception&) {
        ADD_FAILURE() << "a group with a KeyboardInterrupt is no ordinary error";
    } catch (const BaseExceptionGroup& e) {
        EXPECT_TRUE(is_exit_error(e.exceptions().at(0)));
    }
}

TEST(Groups, ThrowOfTheRestIsAnExceptionGroup) {
    std::exception_ptr error = nested_group();
    try {
        std::rethrow_exception(error);
    } catch (const ExceptionGroup& eg) {
        auto rest = eg.split<ValueError>().second;
        ASSERT_TRUE(rest);
        EXPECT_THROW(throw *rest, ExceptionGroup);
        EXPECT_THROW(rest->raise(), ExceptionGroup);
    }
}

TEST(Groups, CopiesAreNoexceptAndAGroupNeverLosesItsMembers) {
    EXPECT_TRUE(std::is_nothrow_copy_constructible_v<BaseExceptionGroup>);
    EXPECT_TRUE(std::is_nothrow_copy_constructible_v<ExceptionGroup>);
    EXPECT_TRUE(std::is_nothrow_copy_assignable_v<ExceptionGroup>);
    ExceptionGroup first("m", {ptr(ValueError())});
    ExceptionGroup second = std::move(first);
    EXPECT_STREQ(first.what(), "m (1 sub-exception)");
    EXPECT_EQ(first.exceptions(), second.exceptions());
}

// ---- Causes ----

TEST(Causes, AreKeptBesideTheClass) {  // XC-10
    std::exception_ptr cause = ptr(CancelledError("stop"));
    std::exception_ptr error = with_cause(TimeoutError("late"), cause);
    EXPECT_TRUE(holds<TimeoutError>(error));
    EXPECT_TRUE(holds<std::nested_exception>(error));
    EXPECT_EQ(cause_of(error), cause);
    EXPECT_EQ(text_of(error), "late");
    EXPECT_EQ(describe(error), "TimeoutError('late')");
    EXPECT_EQ(cause_of(cause), nullptr);
    EXPECT_EQ(cause_of(nullptr), nullptr);
    EXPECT_EQ(cause_of(ptr(42)), nullptr);
}

TEST(Causes, WorkWithTheStandardsRethrowIfNested) {
    try {
        std::rethrow_exception(with_cause(TimeoutError(), ptr(CancelledError("stop"))));
    } catch (const TimeoutError& e) {
        EXPECT_THROW(std::rethrow_if_nested(e), CancelledError);
    }
}

TEST(Causes, AreFoundInWhatTheStandardNested) {
    try {
        try {
            throw KeyError("k");
        } catch (...) {
            std::throw_with_nested(ValueError("v"));  // Throws.
        }
    } catch (...) {
        std::exception_ptr error = std::current_exception();
        EXPECT_EQ(describe(error), "ValueError('v')");
        EXPECT_EQ(describe(cause_of(error)), "KeyError('k')");
    }
}

TEST(Causes, ANullCauseAddsNothing) {
    std::exception_ptr error = with_cause(TimeoutError("late"), nullptr);
    EXPECT_FALSE(holds<std::nested_exception>(error));
    EXPECT_EQ(describe(error), "TimeoutError('late')");
}

TEST(Causes, AreThoseGivenNotTheErrorBeingHandled) {
    try {
        throw RuntimeError("handled");
    } catch (const RuntimeError&) {
        std::exception_ptr error = with_cause(TimeoutError(), ptr(CancelledError("given")));
        EXPECT_EQ(describe(cause_of(error)), "CancelledError('given')");
    }
}

TEST(Causes, MayBelongToGroupsAndToUsersClasses) {
    std::exception_ptr group =
        with_cause(ExceptionGroup("g", {ptr(ValueError("v"))}), ptr(KeyError("k")));
    EXPECT_FALSE(is_base_exception(group));
    EXPECT_EQ(describe(group), "ExceptionGroup('g', [ValueError('v')])");
    EXPECT_EQ(describe(cause_of(group)), "KeyError('k')");
    std::exception_ptr wrapped = with_cause(Wrapped<int>("w"), ptr(1));
    EXPECT_EQ(describe(wrapped), "Wrapped<int>('w')");
    EXPECT_EQ(describe(cause_of(wrapped)), "int(1)");
    EXPECT_TRUE(is_cancelled_error(with_cause(MyCancelled("m"), ptr(1))));
}

// ---- errors that say nothing (L22)
// ---------------------------------------------------------------

struct Silent : std::exception {
    const char* what() const noexcept override { return nullptr; }
};
struct SilentBase : BaseException {
    const char* what() const noexcept override { return nullptr; }
};
struct SilentCancelled : CancelledError {
    const char* what() const noexcept override { return nullptr; }
};

TEST(Texts, OfAnErrorWhoseWhatIsNullAreItsName) {  // L22
    EXPECT_EQ(describe(ptr(Silent())), "Silent()");
    EXPECT_EQ(format_exception(ptr(Silent())), "Silent");
    EXPECT_EQ(describe(ptr(SilentBase())), "SilentBase()");
    EXPECT_EQ(format_exception(ptr(SilentCancelled())), "SilentCancelled");
    const auto group = ptr(BaseExceptionGroup("g", {ptr(Silent()), ptr(SilentBase())}));
    EXPECT_EQ(format_exception(group),
              "  | BaseExceptionGroup: g (2 sub-exceptions)\n"
              "  +-+---------------- 1 ----------------\n"
              "    | Silent\n"
              "    +---------------- 2 ----------------\n"
              "    | SilentBase\n"
              "    +------------------------------------");
    EXPECT_EQ(format_exception(with_cause(Silent(), ptr(Silent()))),
              "Silent\n\n"
              "The above exception was the direct cause of the following exception:\n\n"
              "Silent");
}

// ---- causes of nested groups (L39)
// ---------------------------------------------------------------

TEST(Groups, PartsKeepTheCausesOfNestedGroups) {  // L39
    // As CPython: g = ExceptionGroup("m", [inner from cause, BaseException])
    const auto deepest =
        with_cause(ExceptionGroup("deep", {ptr(ValueError("c")), ptr(KeyError("d"))}),
                   ptr(RuntimeError("of deep")));
    const auto inner = with_cause(
        BaseExceptionGroup(
            "in", {ptr(ValueError("a")), ptr(TypeError("t")), deepest, ptr(GeneratorExit())}),
        ptr(RuntimeError("of in")));
    const BaseExceptionGroup whole("m", {inner, ptr(ValueError("b"))});
    const auto cause_text = [](const std::exception_ptr& e) { return describe(cause_of(e)); };

    const auto parts = whole.split<ValueError>();
    const auto& matching = parts.first->exceptions();
    const auto& rest = parts.second->exceptions();
    ASSERT_EQ(matching.size(), 2u);
    ASSERT_EQ(rest.size(), 1u);
    EXPECT_EQ(describe(matching[0]),
              "ExceptionGroup('in', [ValueError('a'), ExceptionGroup('deep', "
              "[ValueError('c')])])");
    EXPECT_EQ(cause_text(matching[0]), "RuntimeError('of in')");
    EXPECT_EQ(cause_text(rest[0]), "RuntimeError('of in')");
    const auto members = [](const std::exception_ptr& e) {
        return detail::find<BaseExceptionGroup>(e)->exceptions();
    };
    EXPECT_EQ(cause_text(members(matching[0])[1]), "RuntimeError('of deep')");
    EXPECT_EQ(cause_text(members(rest[0])[1]), "RuntimeError('of deep')");
    EXPECT_EQ(cause_text(whole.subgroup<TypeError>()->exceptions()[0]), "RuntimeError('of in')");
    // A part that is a whole group is that group.
    EXPECT_EQ((whole.subgroup<ValueError, TypeError, KeyError, GeneratorExit>()->exceptions()[0]),
              inner);
    // The predicate sees causes, too, that of the whole included.
    const auto caused =
        with_cause(ExceptionGroup("top", {ptr(ValueError("x"))}), ptr(RuntimeError("of top")));
    std::string seen;
    (void)detail::find<ExceptionGroup>(caused)->subgroup([&](const std::exception_ptr& e) {
        if (seen.empty()) seen = cause_text(e);
        return false;
    });
    EXPECT_EQ(seen, "RuntimeError('of top')");
}

TEST(Groups, PartsHaveTheCauseOfTheWhole) {  // L39
    const auto cause = ptr(RuntimeError("of all"));
    const auto whole =
        with_cause(BaseExceptionGroup("m", {ptr(ValueError("a")), ptr(GeneratorExit())}), cause);
    const auto& group = *detail::find<BaseExceptionGroup>(whole);
    const auto raised_by = [](const auto& part) {
        try {
            part.raise();
        } catch (...) {
            return std::current_exception();
        }
    };
    const auto parts = group.split<ValueError>();
    EXPECT_EQ(cause_of(raised_by(*parts.first)), cause);
    EXPECT_EQ(cause_of(raised_by(*parts.second)), cause);
    EXPECT_TRUE(detail::holds<std::nested_exception>(raised_by(*parts.first)));
    EXPECT_EQ(cause_of(raised_by(*group.subgroup<ValueError>())), cause);
    EXPECT_EQ(cause_of(raised_by(*group.subgroup([](const auto&) { return true; }))), cause);
    // Thrown by value, and a part of a part.
    EXPECT_EQ(cause_of(ptr(*parts.first)), cause);
    EXPECT_EQ(cause_of(raised_by(*parts.first->subgroup<ValueError>())), cause);
    // The whole itself, by value or raised, too.
    EXPECT_EQ(cause_of(raised_by(group)), cause);
    const auto other = ptr(KeyError("k"));
    EXPECT_EQ(cause_of(with_cause(*parts.first, other)), other);
    // One without a cause has none.
    const ExceptionGroup plain("m", {ptr(ValueError("a")), ptr(KeyError("b"))});
    EXPECT_EQ(cause_of(raised_by(*plain.subgroup<ValueError>())), nullptr);
    EXPECT_EQ(cause_of(raised_by(plain)), nullptr);
}

TEST(Causes, OfPartsAreDroppedWithoutRecursion) {  // L13, L39
    std::exception_ptr part;
    for (int i = 0; i < 100'000; ++i) {
        part = with_cause(ExceptionGroup("g", {ptr(ValueError("v")), ptr(KeyError("k"))}), part);
        part = ptr(*detail::find<ExceptionGroup>(part)->subgroup<ValueError>());
    }
    EXPECT_TRUE(cause_of(part));
    part = nullptr;
}

TEST(Groups, ADeepNestIsDroppedWithoutRecursion) {  // L13
    std::exception_ptr nest = ptr(ValueError("innermost"));
    for (int i = 0; i < 200'000; ++i) nest = BaseExceptionGroup::make("g", {nest});
    std::exception_ptr other = nest;
    nest = nullptr;
    EXPECT_TRUE(other);
    other = nullptr;
}

TEST(Causes, ALongChainIsDroppedAndDescribedWithoutRecursion) {  // L13
    std::exception_ptr chain = ptr(ValueError("first"));
    for (int i = 0; i < 200'000; ++i) {
        chain = with_cause(RuntimeError("r"), std::move(chain));
        // Groups with causes, too.
        if (i % 2 == 0) chain = with_cause(ExceptionGroup("g", {ptr(ValueError("x"))}), chain);
    }
    EXPECT_LT(format_exception(chain).size(), 100'000u);
    chain = nullptr;
    std::exception_ptr nest = ptr(ValueError("innermost"));
    for (int i = 0; i < 200'000; ++i) nest = BaseExceptionGroup::make("g", {nest});
    EXPECT_LT(format_exception(nest).size(), 10'000u);
    EXPECT_NE(describe(nest).find("[...]"), std::string::npos);
}

TEST(Groups, ADeepNestIsNotSplit) {  // L13
    std::exception_ptr nest = ptr(ValueError("innermost"));
    for (int i = 0; i < 500; ++i) nest = BaseExceptionGroup::make("g", {nest, ptr(KeyError("k"))});
    EXPECT_TRUE(detail::find<BaseExceptionGroup>(nest)->split<ValueError>().first);
    for (int i = 0; i < 100'000; ++i) nest = BaseExceptionGroup::make("g", {nest});
    EXPECT_THROW(detail::find<BaseExceptionGroup>(nest)->split<ValueError>(), RuntimeError);
}

}  // namespace
