import { type Operation, assertOperation } from "./operation.ts";

/** What `qcowal run` reads: operations as data, and why. */
export interface OperationsDocument {
  readonly operations: readonly Operation[];
  readonly reason?: string;
}

/**
 * Reads a list of operations, or an object with one, that came from outside: the
 * same that `OPERATIONS_SCHEMA` describes.
 * @throws TypeError naming the operation and the field
 */
export function operationsDocument(value: unknown): OperationsDocument {
  const document: unknown = Array.isArray(value) ? { operations: value } : value;
  if (typeof document !== "object" || document === null) {
    throw new TypeError("operations must be a list, or an object with 'operations'");
  }
  const { operations, reason, ...rest } = document as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined)
    throw new TypeError(`unknown field ${JSON.stringify(unknown)} beside 'operations'`);
  if (reason !== undefined && typeof reason !== "string") throw new TypeError("'reason' must be a string");
  if (!Array.isArray(operations) || operations.length === 0) {
    throw new TypeError("operations must be a list of at least one operation");
  }
  const checked = operations.map((operation: unknown, index): Operation => {
    try {
      assertOperation(operation);
      return operation;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new TypeError(`number ${index + 1}: ${error.message}`, { cause: error });
    }
  });
  return { operations: checked, ...(reason === undefined ? {} : { reason }) };
}
