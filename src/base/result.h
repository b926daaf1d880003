// Making and passing on errors: the constructors and macros used everywhere inside cria.
//
//   return bad_input("{}: {} tensors, the file has room for {}", path, found, room);
//   CRIA_RETURN_IF_ERROR(check_header(bytes));
//   CRIA_ASSIGN_OR_RETURN(Header header, read_header(bytes));
#pragma once

#include <fmt/format.h>

#include <utility>

#include "cria/status.h"

namespace cria {

template <typename... Args>
Status make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

#define CRIA_DEFINE_ERROR(function, code)                               \
  template <typename... Args>                                           \
  Status function(fmt::format_string<Args...> format, Args&&... args) { \
    return make_error(code, format, std::forward<Args>(args)...);       \
  }
CRIA_DEFINE_ERROR(invalid_argument, ErrorCode::kInvalidArgument)
CRIA_DEFINE_ERROR(bad_input, ErrorCode::kBadInput)
CRIA_DEFINE_ERROR(unsupported, ErrorCode::kUnsupported)
CRIA_DEFINE_ERROR(not_found, ErrorCode::kNotFound)
CRIA_DEFINE_ERROR(out_of_resources, ErrorCode::kOutOfResources)
CRIA_DEFINE_ERROR(io_error, ErrorCode::kIo)
CRIA_DEFINE_ERROR(cancelled, ErrorCode::kCancelled)
CRIA_DEFINE_ERROR(internal_error, ErrorCode::kInternal)
#undef CRIA_DEFINE_ERROR

#define CRIA_CONCAT_INNER(a, b) a##b
#define CRIA_CONCAT(a, b) CRIA_CONCAT_INNER(a, b)

// Leaves the function with the error of a `Status` or `Result` expression, if it has one.
#define CRIA_RETURN_IF_ERROR(expression)         \
  do {                                           \
    ::cria::Status cria_status_ = (expression);  \
    if (!cria_status_.ok()) return cria_status_; \
  } while (false)

// `CRIA_ASSIGN_OR_RETURN(int n, parse(text))`: n = the value, or leave with the error.
#define CRIA_ASSIGN_OR_RETURN(declaration, expression) \
  CRIA_ASSIGN_OR_RETURN_INNER(CRIA_CONCAT(cria_result_, __LINE__), declaration, expression)
#define CRIA_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                        \
  if (!result.ok()) return std::move(result).status();               \
  declaration = std::move(result).value()

}  // namespace cria
