#include "weft.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

napi_value js_undefined(napi_env env) {
  napi_value value = NULL;
  napi_get_undefined(env, &value);
  return value;
}

napi_value js_int(napi_env env, int64_t n) {
  napi_value value = NULL;
  napi_create_int64(env, n, &value);
  return value;
}

napi_value js_string(napi_env env, const char *text) {
  napi_value value = NULL;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}

napi_value js_buffer(napi_env env, const void *at, size_t len) {
  napi_value value = NULL;
  napi_create_buffer_copy(env, len, len ? at : "", NULL, &value);
  return value;
}

void set_prop(napi_env env, napi_value object, const char *name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

static napi_value coded_error(napi_env env, int err, const char *text) {
  const char *name = strerrorname_np(err);
  napi_value error = NULL;
  napi_create_error(env, js_string(env, name ? name : "EUNKNOWN"), js_string(env, text), &error);
  if (!error) return NULL;
  set_prop(env, error, "errno", js_int(env, err));
  return error;
}

/* An Error with `code` (the errno's name), `errno`, and the message "op subject: text". */
napi_value errno_error(napi_env env, int err, const char *op, const char *subject) {
  char text[PATH_MAX + 256];
  const char *meaning = strerrordesc_np(err);
  snprintf(text, sizeof text, "%s%s%s: %s", op, subject ? " " : "", subject ? subject : "",
           meaning ? meaning : "unknown error");
  return coded_error(env, err, text);
}

napi_value throw_errno(struct call *call, int err, const char *subject) {
  napi_value error = errno_error(call->env, err, call->op, subject);
  if (error) napi_throw(call->env, error);
  return NULL;
}

/* EINVAL in words: the arguments cannot be used, and nothing was done. */
napi_value throw_invalid(struct call *call, const char *format, ...) {
  char why[256], text[512];
  va_list list;
  va_start(list, format);
  vsnprintf(why, sizeof why, format, list);
  va_end(list);
  snprintf(text, sizeof text, "%s: %s", call->op, why);
  napi_value error = coded_error(call->env, EINVAL, text);
  if (error) napi_throw(call->env, error);
  return NULL;
}

bool call_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call) {
  void *weft = NULL;
  *call = (struct call){.env = env, .op = op, .argc = COUNT(call->argv)};
  if (napi_get_instance_data(env, &weft) != napi_ok) return false;
  if (napi_get_cb_info(env, cbinfo, &call->argc, call->argv, NULL, NULL) != napi_ok) return false;
  call->weft = weft;
  if (!call->weft || call->weft->ended) return throw_errno(call, ECANCELED, "the environment is ending"), false;
  return true;
}

/* True for an argument that was not given, undefined or null. napi fills the missing ones with undefined. */
bool arg_absent(struct call *call, size_t i) {
  napi_valuetype type = napi_undefined;
  napi_typeof(call->env, call->argv[i], &type);
  return type == napi_undefined || type == napi_null;
}

bool value_int(struct call *call, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out) {
  double n = 0;
  bool number = napi_get_value_double(call->env, value, &n) == napi_ok;
  if (!number || n != floor(n) || n < (double)min || n > (double)max) {
    return throw_invalid(call, "%s must be an integer from %lld to %lld", name, (long long)min, (long long)max), false;
  }
  *out = (int64_t)n;
  return true;
}

bool arg_int(struct call *call, size_t i, const char *name, int64_t min, int64_t max, int64_t *out) {
  return value_int(call, call->argv[i], name, min, max, out);
}

/* A descriptor; -1 (and for optional arguments: absent) means the agent's own namespace where that is allowed. */
bool arg_fd(struct call *call, size_t i, const char *name, bool own_allowed, int *out) {
  int64_t fd = -1;
  if (!(own_allowed && arg_absent(call, i)) && !arg_int(call, i, name, own_allowed ? -1 : 0, INT_MAX, &fd)) return false;
  *out = (int)fd;
  return true;
}

bool value_string(struct call *call, napi_value value, const char *name, char **out) {
  size_t len = 0;
  if (napi_get_value_string_utf8(call->env, value, NULL, 0, &len) != napi_ok) {
    return throw_invalid(call, "%s must be a string", name), false;
  }
  char *text = malloc(len + 1);
  if (!text) return throw_errno(call, ENOMEM, name), false;
  napi_get_value_string_utf8(call->env, value, text, len + 1, &len);
  if (strlen(text) != len) {
    free(text);
    return throw_invalid(call, "%s must not contain a zero byte", name), false;
  }
  *out = text;
  return true;
}

bool arg_string(struct call *call, size_t i, const char *name, char **out) {
  return value_string(call, call->argv[i], name, out);
}

/* A Buffer or any other view of bytes; the memory stays the caller's. */
bool arg_bytes(struct call *call, size_t i, const char *name, const uint8_t **at, size_t *len) {
  bool buffer = false;
  void *start = NULL;
  napi_is_buffer(call->env, call->argv[i], &buffer);
  if (!buffer || napi_get_buffer_info(call->env, call->argv[i], &start, len) != napi_ok) {
    return throw_invalid(call, "%s must be a Buffer or Uint8Array", name), false;
  }
  *at = start;
  return true;
}

bool arg_array(struct call *call, size_t i, const char *name, uint32_t *count) {
  bool array = false;
  napi_is_array(call->env, call->argv[i], &array);
  if (!array) return throw_invalid(call, "%s must be an array", name), false;
  napi_get_array_length(call->env, call->argv[i], count);
  return true;
}

bool arg_int_array(struct call *call, size_t i, const char *name, int64_t min, int64_t max, uint32_t **out,
                   size_t *count) {
  uint32_t length = 0;
  if (!arg_array(call, i, name, &length)) return false;
  uint32_t *list = calloc(length ? length : 1, sizeof *list);
  if (!list) return throw_errno(call, ENOMEM, name), false;
  for (uint32_t k = 0; k < length; k++) {
    napi_value item = NULL;
    int64_t n = 0;
    napi_get_element(call->env, call->argv[i], k, &item);
    if (!value_int(call, item, name, min, max, &n)) return free(list), false;
    list[k] = (uint32_t)n;
  }
  *out = list;
  *count = length;
  return true;
}

static bool prop(struct call *call, napi_value object, const char *name, napi_value *out, bool *present) {
  napi_valuetype type = napi_undefined;
  if (napi_get_named_property(call->env, object, name, out) != napi_ok) {
    bool thrown = false; /* by a getter; else the options are no object */
    napi_is_exception_pending(call->env, &thrown);
    if (!thrown) throw_invalid(call, "the options must be an object");
    return false;
  }
  napi_typeof(call->env, *out, &type);
  *present = type != napi_undefined;
  return true;
}

bool prop_int(struct call *call, napi_value object, const char *name, int64_t min, int64_t max, int64_t fallback,
              int64_t *out) {
  napi_value value = NULL;
  bool present = false;
  if (!prop(call, object, name, &value, &present)) return false;
  *out = fallback;
  return present ? value_int(call, value, name, min, max, out) : true;
}

/* Absent is false. */
bool prop_bool(struct call *call, napi_value object, const char *name, bool *out) {
  napi_value value = NULL;
  bool present = false;
  *out = false;
  if (!prop(call, object, name, &value, &present)) return false;
  if (present && napi_get_value_bool(call->env, value, out) != napi_ok) {
    return throw_invalid(call, "%s must be a boolean", name), false;
  }
  return true;
}

bool prop_string(struct call *call, napi_value object, const char *name, char **out) {
  napi_value value = NULL;
  bool present = false;
  return prop(call, object, name, &value, &present) && value_string(call, value, name, out);
}

/* Absent is NULL. */
bool prop_optional_string(struct call *call, napi_value object, const char *name, char **out) {
  napi_value value = NULL;
  bool present = false;
  *out = NULL;
  if (!prop(call, object, name, &value, &present)) return false;
  return !present || value_string(call, value, name, out);
}

/* What an external points at starts with its kind, so that a socket passed for a monitor is an error and no crash. */
void *arg_external(struct call *call, size_t i, const char *name, uint32_t kind) {
  napi_valuetype type = napi_undefined;
  void *at = NULL;
  napi_typeof(call->env, call->argv[i], &type);
  if (type == napi_external) napi_get_value_external(call->env, call->argv[i], &at);
  if (!at || *(const uint32_t *)at != kind) return throw_invalid(call, "the first argument must be a %s", name), NULL;
  return at;
}
