-- base
-- All three migrations of the recipe ran: key text, column and functions there,
-- the old policies still.
alter table public.profiles drop constraint profiles_id_fkey;
drop function public.handle_new_user() cascade;
drop policy "Users can view own profile" on public.profiles;
drop policy "Users can update own profile" on public.profiles;
drop policy "Users can insert own profile" on public.profiles;
alter table public.profiles drop constraint profiles_pkey;
alter table public.profiles alter column id type text using id::text;
alter table public.profiles add primary key (id);
create policy "Users can view own profile" on public.profiles for select using ((auth.uid())::text = id);
insert into public.profiles (id, username) values ('user_2abc', 'ada');

-- Add Medusa customer ID to profiles table
-- Reference til medusa.customer.id (cross-schema reference via TEXT/UUID)
ALTER TABLE public.profiles 
ADD COLUMN medusa_customer_id TEXT;

-- Create index for lookups
CREATE INDEX idx_profiles_medusa_customer_id ON public.profiles(medusa_customer_id);

-- Add comment
COMMENT ON COLUMN public.profiles.medusa_customer_id IS 
  'Reference til medusa.customer.id. Oprettes automatisk når Clerk user opretter profile via medusa-customer-service.ts';

-- Create function to create Medusa customer from public schema
-- This allows Next.js app to create customers in medusa schema
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

-- Grant execute permission to service_role (used by Supabase service client)
GRANT EXECUTE ON FUNCTION public.create_medusa_customer(TEXT, TEXT, TEXT) TO service_role;

-- Add comment
COMMENT ON FUNCTION public.create_medusa_customer IS
  'Opretter Medusa customer i medusa.customer tabel. Bruges af Next.js app via Supabase service client.';

-- Create function to update Medusa customer from public schema
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

-- Grant execute permission to service_role
GRANT EXECUTE ON FUNCTION public.update_medusa_customer(TEXT, TEXT, TEXT, TEXT) TO service_role;

-- Add comment
COMMENT ON FUNCTION public.update_medusa_customer IS
  'Opdaterer Medusa customer i medusa.customer tabel. Bruges af Next.js app via Supabase service client.';
