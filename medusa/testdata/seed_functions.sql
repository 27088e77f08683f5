CREATE OR REPLACE FUNCTION public.create_medusa_customer(
  p_email TEXT,
  p_first_name TEXT DEFAULT NULL,
  p_last_name TEXT DEFAULT NULL
)
RETURNS TEXT
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
  v_customer_id TEXT;
BEGIN
  -- Check if customer already exists
  SELECT id INTO v_customer_id
  FROM medusa.customer
  WHERE email = p_email
  LIMIT 1;

  IF v_customer_id IS NOT NULL THEN
    RETURN v_customer_id;
  END IF;

  -- Generate new customer ID (UUID as TEXT)
  v_customer_id := gen_random_uuid()::text;

  -- Insert new customer
  INSERT INTO medusa.customer (id, email, first_name, last_name, has_account)
  VALUES (v_customer_id, p_email, p_first_name, p_last_name, false)
  RETURNING id INTO v_customer_id;

  RETURN v_customer_id;
END;
$$;

CREATE OR REPLACE FUNCTION public.update_medusa_customer(
  p_customer_id TEXT,
  p_email TEXT,
  p_first_name TEXT DEFAULT NULL,
  p_last_name TEXT DEFAULT NULL
)
RETURNS VOID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
  -- Update customer in medusa.customer table
  UPDATE medusa.customer
  SET 
    email = p_email,
    first_name = p_first_name,
    last_name = p_last_name,
    updated_at = NOW()
  WHERE id = p_customer_id;

  -- If customer doesn't exist, raise error
  IF NOT FOUND THEN
    RAISE EXCEPTION 'Customer with id % does not exist', p_customer_id;
  END IF;
END;
$$;

GRANT EXECUTE ON FUNCTION public.create_medusa_customer(TEXT, TEXT, TEXT) TO service_role;
GRANT EXECUTE ON FUNCTION public.update_medusa_customer(TEXT, TEXT, TEXT, TEXT) TO service_role;
