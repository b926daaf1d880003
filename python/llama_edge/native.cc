// The extension module behind the package llama_edge.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../status_to_python.h"
#include "cria/tokenizer.h"

namespace py = pybind11;

namespace cria::python {
namespace {

// The id that ends a text. Instruct models name several; the first is what from_pretrained() of
// other libraries calls the end token.
std::int32_t eos_id(const TextTokenizer& tokenizer) {
  if (tokenizer.eos_ids().empty())
    raise(Status(ErrorCode::kNotFound, "the tokenizer names no end token"));
  return tokenizer.eos_ids().front();
}

// Characters that the ids leave incomplete become U+FFFD, as Python's own codecs do with
// errors="replace".
py::str to_text(const std::string& bytes) {
  PyObject* text =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  py::class_<TextTokenizer>(module, "Llama32Tokenizer", "Text <-> token ids.")
      .def_static(
          "from_pretrained",
          [](const std::string& path_or_id) { return unwrap(TextTokenizer::open(path_or_id)); },
          py::arg("path_or_id"),
          "A folder, a tokenizer file, or a model id in the local Hugging Face cache (offline).")
      .def(
          "encode",
          [](const TextTokenizer& tokenizer, const std::string& text, bool add_special_tokens) {
            return unwrap(tokenizer.encode(text, add_special_tokens));
          },
          py::arg("text"), py::arg("add_special_tokens") = true,
          "Ids of `text`, the begin token first.")
      .def(
          "decode",
          [](const TextTokenizer& tokenizer, const std::vector<std::int32_t>& ids,
             bool skip_special_tokens) {
            return to_text(tokenizer.decode(ids, !skip_special_tokens));
          },
          py::arg("ids"), py::arg("skip_special_tokens") = true, "Text of `ids`.")
      .def_property_readonly("eos_id", &eos_id)
      .def_property_readonly("eos_ids",
                             [](const TextTokenizer& tokenizer) { return tokenizer.eos_ids(); })
      .def_property_readonly("bos_id", &TextTokenizer::bos_id)
      .def_property_readonly("vocab_size", &TextTokenizer::n_vocab);
}

}  // namespace cria::python
