/** Everything that a caller can be told, with its HTTP status. */
const STATUS = {
  bad_json: 400,
  unauthenticated: 401,
  invalid_on_behalf_of: 401,
  no_organisation: 403,
  forbidden: 403,
  not_found: 404,
  email_taken: 409,
  id_taken: 409,
  body_too_large: 413,
  unsupported_media_type: 415,
  validation_failed: 422,
  idempotency_key_reused: 422,
  internal: 500,
  fault: 503,
} as const;

export type ErrorCode = keyof typeof STATUS;
export type ErrorStatus = (typeof STATUS)[ErrorCode];

/** The one shape in which this API reports an error. */
export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string };
}

/** Thrown by handlers, turned into an answer in one place (`app.ts`). */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(message);
  }

  get status(): ErrorStatus {
    return STATUS[this.code];
  }

  get body(): ErrorBody {
    return { error: { code: this.code, message: this.message } };
  }
}
