// cria's errors as Python exceptions.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "cria/status.h"

namespace cria::python {

// Throws the exception that a Python programmer expects for a code; the message is cria's own.
[[noreturn]] inline void raise(const Status& status) {
  const char* message = status.message().c_str();
  switch (status.code()) {
    case ErrorCode::kNotFound:
      PyErr_SetString(PyExc_FileNotFoundError, message);
      break;
    case ErrorCode::kIo:
      PyErr_SetString(PyExc_OSError, message);
      break;
    case ErrorCode::kOutOfResources:
      PyErr_SetString(PyExc_MemoryError, message);
      break;
    case ErrorCode::kUnsupported:
      PyErr_SetString(PyExc_NotImplementedError, message);
      break;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kBadInput:
      PyErr_SetString(PyExc_ValueError, message);
      break;
    default:
      PyErr_SetString(PyExc_RuntimeError, message);
  }
  throw pybind11::error_already_set();
}

inline void check(const Status& status) {
  if (!status.ok()) raise(status);
}

template <typename T>
T unwrap(Result<T> result) {
  if (!result.ok()) raise(result.status());
  return std::move(result).value();
}

}  // namespace cria::python
