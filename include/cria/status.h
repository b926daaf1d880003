// Errors without exceptions: `Status` for "it worked or not", `Result<T>` for "a value or why not".
//
// Every function of cria that can be handed wrong input (files, prompts, requests, plug-ins)
// returns one of the two. Nothing of cria throws across this interface, prints, or exits.
// Thread-safety: values, as safe as an int.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace cria {

// Who is to blame. The numbers are stable: they appear in logs and in the C interface.
enum class ErrorCode : int {
  kOk = 0,
  kInvalidArgument = 1,  // the caller asked for something that makes no sense (a flag, a range)
  kBadInput = 2,         // a file or text is malformed: "your model is bad"
  kUnsupported = 3,      // well-formed, but this build or this device cannot do it
  kNotFound = 4,         // a file, a tensor, a model id or a method does not exist
  kOutOfResources = 5,   // memory, disk, context length
  kIo = 6,               // the operating system refused (read, write, map)
  kCancelled = 7,        // a callback asked to stop
  kInternal = 8,         // an invariant of cria broke: "cria is broken"
};

// The stable lower-case name of a code, e.g. "bad_input".
const char* error_code_name(ErrorCode code);

// Success, or a code and one line of text: where, what was found, what was expected.
class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {
    assert(code != ErrorCode::kOk);
  }

  bool ok() const { return code_ == ErrorCode::kOk; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error, told from one level further up: "<context>: <message>".
  Status with_context(const std::string& context) && {
    if (!ok()) message_ = context + ": " + message_;
    return std::move(*this);
  }

 private:
  ErrorCode code_ = ErrorCode::kOk;
  std::string message_;
};

// A `T`, or the `Status` that says why there is none.
//
//   Result<Model> model = load(path);
//   if (!model.ok()) return model.status();
//   use(*model);
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                  // NOLINT: implicit
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT: implicit

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  // REQUIRES: ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace cria
